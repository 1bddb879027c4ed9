#![allow(clippy::unwrap_used)]
use super::*;

fn sample() -> ImageBuilder {
    let mut image = ImageBuilder::new("localhost/sample:1", &["/bin/app"]);
    image.text("/bin/app", "#!", 0o755);
    image.link("/bin/sh", "app");
    image.folder("/tmp", 0o1777);
    image.user("65532:65532");
    image
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.tar"), folder.path().join("b.tar"));
    let mut other = ImageBuilder::new("localhost/sample:1", &["/bin/app"]);
    // Another order of adding, at another time.
    other.user("65532:65532");
    other.folder("/tmp", 0o1777);
    other.link("/bin/sh", "app");
    other.text("/bin/app", "#!", 0o755);
    sample().write(&a).unwrap();
    other.write(&b).unwrap();
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
}

#[test]
fn every_blob_is_named_by_its_hash_and_the_index_names_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tar");
    sample().write(&file).unwrap();
    let mut blobs = 0;
    for entry in tar::Archive::new(File::open(&file).unwrap())
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        if let Some(name) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(name, sha256_hex(&content));
            blobs += 1;
        } else if path == "index.json" {
            let index: Value = serde_json::from_slice(&content).unwrap();
            let annotations = &index["manifests"][0]["annotations"];
            assert_eq!(
                annotations["io.containerd.image.name"],
                "localhost/sample:1"
            );
            assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
        }
    }
    assert_eq!(blobs, 3);
}

#[test]
fn a_base_is_the_lower_layer_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (folder.path().join("base.tar"), folder.path().join("a.tar"));
    fs::write(&base, "a root of Debian's").unwrap();
    let mut image = sample();
    image.base(&base);
    image.write(&out).unwrap();
    let lower = sha256_hex(b"a root of Debian's");
    let mut found = false;
    for entry in tar::Archive::new(File::open(&out).unwrap())
        .entries()
        .unwrap()
    {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        found |= path == format!("blobs/sha256/{lower}");
        if let Ok(value) = serde_json::from_slice::<Value>(&content)
            && let Some(layers) = value["layers"].as_array()
        {
            assert_eq!(layers.len(), 2);
            assert_eq!(layers[0]["digest"], format!("sha256:{lower}"));
            assert_eq!(layers[0]["size"], 18);
        }
    }
    assert!(found);
}

#[test]
fn a_name_without_a_tag_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = ImageBuilder::new("localhost:5000/x", &[])
        .write(&folder.path().join("x"))
        .unwrap_err();
    assert!(error.to_string().contains("no tag"));
}
