// CoreDNS with the plugins that the testbed's Corefiles use, and no others: without the clients of clouds, and with
// that of Kubernetes, as Services are among the names that are played. The plugins are CoreDNS's own code.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	// The order in which plugins see a query, as in CoreDNS's plugin.cfg: since 1.14.7 rewrite comes before cache.
	dnsserver.Directives = []string{
		"reload", "bind", "ready", "prometheus", "errors", "loadbalance", "rewrite", "cache", "template", "kubernetes",
		"forward",
	}
	coremain.Run()
}
