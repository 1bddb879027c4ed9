#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn the_table_and_go_mod_pin_the_same_versions() {
    for tool in TOOLS {
        let file = crate_folder()
            .join("tools")
            .join(tool.folder)
            .join("go.mod");
        let text = fs::read_to_string(&file).unwrap();
        let pinned = format!("{} {}", tool.module, tool.version);
        assert!(
            text.contains(&pinned),
            "{} does not pin {pinned}",
            file.display()
        );
        assert!(
            text.contains(tool.package),
            "{} does not build {}",
            file.display(),
            tool.package
        );
        assert!(file.with_file_name("go.sum").is_file());
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = TOOLS.iter().map(|tool| tool.binary).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TOOLS.len());
}

#[test]
fn a_program_of_another_version_is_refused() {
    let error = TOOLS[1]
        .verify(Path::new("/bin/echo"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not kube-apiserver v1.36.3"), "{error}");
}

#[test]
fn a_program_of_ours_is_built_anew_when_its_sources_change() {
    let cache = ToolCache::locate().unwrap();
    let ours = |sources| GoTool {
        folder: "coredns",
        version: "v1.15.0",
        module: "github.com/coredns/coredns",
        package: "dbbalance.io/testbed/tools/coredns",
        binary: "coredns",
        for_testbed: false,
        linker: "",
        tells: (&[], ""),
        expected: "",
        sources,
    };
    let before = ours(&["one plugin"]).path(&cache);
    assert_ne!(ours(&["one plugin", "another"]).path(&cache), before);
    assert_eq!(ours(&["one plugin"]).path(&cache), before);
    // What is built as its module has it stays where machines have it.
    let etcd = TOOLS.iter().find(|tool| tool.binary == "etcd").unwrap();
    assert!(etcd.folder_in(&cache).ends_with("etcd-v3.6.11"));
}

#[test]
fn coredns_has_its_plugins_in_upstream_order() {
    // plugin.cfg of CoreDNS 1.15.0, those of ours. Since 1.14.7 rewrite comes before cache.
    let upstream = [
        "reload",
        "bind",
        "ready",
        "prometheus",
        "errors",
        "loadbalance",
        "rewrite",
        "cache",
        "template",
        "kubernetes",
        "forward",
    ];
    let main = include_str!("../../../tools/coredns/main.go");
    let list = main.split_once("Directives = []string{").unwrap().1;
    let list = list.split_once('}').unwrap().0;
    let named: Vec<&str> = list
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(named, upstream);
    for name in upstream {
        // The plugin that reads `prometheus` is called metrics.
        let folder = if name == "prometheus" {
            "metrics"
        } else {
            name
        };
        assert!(
            main.contains(&format!("/plugin/{folder}\"")),
            "{name} is not built in"
        );
    }
}
