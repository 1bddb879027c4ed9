// CoreDNS with only the plugins that the stand's Corefile uses: a quarter of the build, and the very same code.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order of plugins in a chain, as in CoreDNS's own plugin.cfg.
	dnsserver.Directives = []string{
		"bind", "health", "ready", "prometheus", "errors", "log", "cache", "template", "forward",
	}
	coremain.Run()
}
