// CoreDNS with the plugins that the testbed's Corefile uses, and no others: a build of half a minute, without the
// clients of clouds and clusters. The plugins are CoreDNS's own code.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order in which plugins see a query, as in CoreDNS's plugin.cfg.
	dnsserver.Directives = []string{
		"bind", "ready", "prometheus", "errors", "cache", "template", "forward",
	}
	coremain.Run()
}
