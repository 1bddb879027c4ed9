//! What the documentation names is there: files, headings, decision records, make targets, constants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

fn checkout_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files of the checkout with one of these extensions, each relative to it with its text.
fn read_files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut files = vec![];
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(checkout_folder().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let extension = path.extension().unwrap_or_default().to_str().unwrap();
            if entry.file_type().unwrap().is_dir() {
                if ![".git", "target"].contains(&entry.file_name().to_str().unwrap()) {
                    folders.push(path);
                }
            } else if extensions.contains(&extension) {
                let text = fs::read_to_string(checkout_folder().join(&path)).unwrap();
                files.push((path, text));
            }
        }
    }
    files.sort();
    files
}

fn assert_none(problems: &BTreeSet<String>) {
    let texts: Vec<&str> = problems.iter().map(String::as_str).collect();
    assert!(texts.is_empty(), "\n{}\n", texts.join("\n"));
}

/// Returns the text without its fenced code.
fn strip_code_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Returns what stands between each `open` and the next `close`.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| rest.split_once(close))
        .map(|(inside, _)| inside)
        .collect()
}

/// Returns the texts in backticks, outside of fenced code.
fn code_spans(text: &str) -> Vec<String> {
    strip_code_blocks(text)
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Returns the anchors of the headings of a page, as GitHub makes them.
fn heading_anchors(text: &str) -> Vec<String> {
    strip_code_blocks(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Resolves a link relative to the folder of its page, without `..`.
fn resolve_link(page: &Path, link: &str) -> PathBuf {
    let mut path = page.parent().unwrap().to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{link} leaves the checkout"),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let pages = read_files(&["md"]);
    let mut problems = BTreeSet::new();
    let mut checked = 0;
    for (page, text) in &pages {
        let text = strip_code_blocks(text);
        for link in between(&text, "](", ")") {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => resolve_link(page, file),
            };
            if !checkout_folder().join(&target).exists() {
                problems.insert(format!("{}: no file {link}", page.display()));
            } else if !anchor.is_empty() {
                let linked = fs::read_to_string(checkout_folder().join(&target)).unwrap();
                if !heading_anchors(&linked).contains(&anchor.to_owned()) {
                    problems.insert(format!("{}: no heading {link}", page.display()));
                }
            }
        }
    }
    assert!(checked > 50, "only {checked} links found");
    assert_none(&problems);
}

/// Returns the numbers of decision records that a text cites after `words`, as in `docs/adr/0003`.
fn cited_records<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.split(words)
        .skip(1)
        .filter_map(|rest| rest.get(..4))
        .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
        .collect()
}

#[test]
fn every_decision_record_that_is_cited_exists() {
    let names: Vec<String> = fs::read_dir(checkout_folder().join("docs/adr"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let index = fs::read_to_string(checkout_folder().join("docs/adr/README.md")).unwrap();
    let mut problems = BTreeSet::new();
    for name in names.iter().filter(|name| *name != "README.md") {
        if !index.contains(&format!("[{}]({name})", &name[..4])) {
            problems.insert(format!("docs/adr/README.md: no row for {name}"));
        }
    }
    let mut checked = 0;
    for (file, text) in read_files(&["rs", "md", "toml", "yaml", "tpl", "sh"]) {
        for words in ["docs/adr/", "ADR "] {
            for number in cited_records(&text, words) {
                checked += 1;
                if !names.iter().any(|name| name.starts_with(number)) {
                    problems.insert(format!("{}: no record {words}{number}", file.display()));
                }
            }
        }
    }
    assert!(checked > 20, "only {checked} citations found");
    assert_none(&problems);
}

#[test]
fn every_file_of_the_checkout_that_is_named_exists() {
    const FOLDERS: [&str; 7] = [
        "src/", "crates/", "tests/", "docs/", "charts/", "deploy/", "crds/",
    ];
    let mut problems = BTreeSet::new();
    let mut checked = 0;
    for (page, text) in read_files(&["md"]) {
        // Each app's files are named from its own folder.
        if page.starts_with("tests/testbed/apps") {
            continue;
        }
        for span in code_spans(&text) {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder))
                && !span.contains([' ', '<', '*', '…']);
            // A number without a file name stands for a decision record.
            let is_record = !cited_records(&span, "docs/adr/").is_empty() || span.contains("000N");
            if !is_path || is_record {
                continue;
            }
            checked += 1;
            let beside = page.parent().unwrap().join(&span);
            if ![Path::new(&span), &beside]
                .iter()
                .any(|path| checkout_folder().join(path).exists())
            {
                problems.insert(format!("{}: no file {span}", page.display()));
            }
        }
    }
    assert!(checked > 30, "only {checked} files found");
    assert_none(&problems);
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = fs::read_to_string(checkout_folder().join("Makefile")).unwrap();
    let targets: Vec<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', ' ', '#']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let mut problems = BTreeSet::new();
    for (page, text) in read_files(&["md"]) {
        let calls = code_spans(&text).into_iter().chain(
            text.lines()
                .map(|line| line.trim_start_matches("KEEP=1 ").to_owned()),
        );
        for call in calls {
            let words = call
                .split_whitespace()
                .skip_while(|word| word.contains('='));
            let Some(target) = words
                .collect::<Vec<_>>()
                .join(" ")
                .strip_prefix("make ")
                .map(|rest| {
                    rest.chars()
                        .take_while(|c| c.is_ascii_lowercase() || *c == '-' || c.is_ascii_digit())
                        .collect::<String>()
                })
            else {
                continue;
            };
            if !target.is_empty() && !targets.contains(&target.as_str()) {
                problems.insert(format!("{}: no target: make {target}", page.display()));
            }
        }
    }
    assert_none(&problems);
}

/// Returns the name that a line of code defines after one of the keywords.
fn find_definition<'a>(line: &'a str, keywords: &[&str]) -> Option<&'a str> {
    let mut words = line
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .skip_while(|word| !keywords.contains(word));
    words.find(|word| {
        ![
            "", "const", "static", "fn", "async", "pub", "crate", "super",
        ]
        .contains(word)
    })
}

/// Returns the Rust name of a field of the API, as in `interval_seconds`; other names stay as they are.
fn to_snake_case(name: &str) -> String {
    if !name.contains(|c: char| c.is_ascii_lowercase()) {
        return name.to_owned();
    }
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[test]
fn every_constant_in_the_decision_records_exists() {
    let code = read_files(&["rs"]);
    let constants: BTreeSet<&str> = code
        .iter()
        .filter(|(file, _)| file.starts_with("src") || file.starts_with("crates"))
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| find_definition(line, &["const", "static", "pub"]))
        .collect();
    let mut problems = BTreeSet::new();
    let mut checked = 0;
    for (page, text) in read_files(&["md"]) {
        if !page.starts_with("docs/adr") {
            continue;
        }
        // The first column of the tables of constants; flags start with a dash.
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
        for cell in cells.filter_map(|line| line.split(" | ").next()) {
            for name in cell.split(['`', ',', ' ']) {
                if name.is_empty() || name.starts_with('-') {
                    continue;
                }
                checked += 1;
                let item = name.rsplit("::").next().unwrap();
                if !constants.contains(to_snake_case(item).as_str()) {
                    problems.insert(format!("{}: no constant {name}", page.display()));
                }
            }
        }
    }
    assert!(checked > 30, "only {checked} constants found");
    assert_none(&problems);
}

#[test]
fn every_test_that_stands_for_a_behaviour_of_the_testbed_exists() {
    let code = read_files(&["rs"]);
    let tests: BTreeSet<&str> = code
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter_map(|line| find_definition(line, &["fn"]))
        .collect();
    let page = fs::read_to_string(checkout_folder().join("docs/testbed.md")).unwrap();
    let named: Vec<&str> = page
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|name| name.matches('_').count() > 2)
        .collect();
    assert!(named.len() > 30, "only {} tests found", named.len());
    let problems = named
        .iter()
        .filter(|name| !tests.contains(*name))
        .map(|name| format!("docs/testbed.md: no test {name}"))
        .collect();
    assert_none(&problems);
}
