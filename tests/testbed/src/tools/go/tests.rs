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
