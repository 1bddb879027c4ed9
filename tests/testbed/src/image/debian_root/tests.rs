#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn only_a_machine_of_the_release_lends_its_sources() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path();
    fs::create_dir_all(etc.join("apt/sources.list.d")).unwrap();
    fs::write(
        etc.join("os-release"),
        "ID=debian\nVERSION_CODENAME=bookworm\n",
    )
    .unwrap();
    fs::write(etc.join("apt/sources.list"), "\n").unwrap();
    let file = etc.join("apt/sources.list.d/debian.sources");
    fs::write(&file, "Types: deb\n").unwrap();
    assert_eq!(sources_of(etc, "bookworm"), [file]);
    assert_eq!(sources_of(etc, "trixie"), Vec::<PathBuf>::new());
}

#[test]
fn another_list_of_packages_is_another_root() {
    let root = |packages: &[&str]| {
        DebianRoot {
            suite: "bookworm".into(),
            packages: packages.iter().map(|&name| name.to_owned()).collect(),
        }
        .key()
    };
    assert_eq!(root(&["ruby"]), root(&["ruby"]));
    assert_ne!(root(&["ruby"]), root(&["ruby", "ruby-pg"]));
}
