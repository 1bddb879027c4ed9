//! Checks what each package of the workspace depends on, as Cargo resolves it for that package alone.

use std::path::Path;
use std::process::Command;

use crate::checkout::read_text;
use crate::error::StructureError;
use crate::layers::RuleViolation;

/// What one package may depend on, through any number of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DependencyRule {
    /// The package's name.
    pub package: &'static str,
    /// The other packages of this workspace that it may use.
    pub may_use: &'static [&'static str],
    /// Crates that may not be in its tree. A name ends with `*` for all that start so.
    pub never: &'static [&'static str],
    /// Crates that may be there although `never` covers them, written in the same way.
    pub except: &'static [&'static str],
}

/// A package of the workspace.
struct WorkspaceMember {
    name: String,
    /// Its folder, relative to the checkout.
    folder: String,
}

/// Checks the normal dependencies of all packages with their default features.
///
/// Each member outside of `tests/` needs a rule, and each rule a member.
///
/// # Errors
/// When Cargo fails, for example because `Cargo.lock` is not up to date.
pub fn check_dependencies(
    checkout: &Path,
    rules: &[DependencyRule],
) -> Result<Vec<RuleViolation>, StructureError> {
    let members = list_members(checkout)?;
    let mut violations = vec![];
    for member in &members {
        if !member.folder.starts_with("tests/") && !rules.iter().any(|x| x.package == member.name) {
            violations.push(RuleViolation {
                place: format!("{}:1", manifest_path(member)),
                found: format!("{} has no rule for its dependencies", member.name),
                rule: "each package outside of tests/ has a row in the table of dependencies"
                    .to_owned(),
                remedy: "add a row that says what it may use and what never".to_owned(),
            });
        }
    }
    for rule in rules {
        if let Some(member) = members.iter().find(|x| x.name == rule.package) {
            check_package_tree(checkout, rule, member, &members, &mut violations)?;
        } else {
            violations.push(RuleViolation {
                place: "Cargo.toml:1".to_owned(),
                found: format!(
                    "the table of dependencies names {}, which is not a member",
                    rule.package
                ),
                rule: "each row of the table stands for a package of the workspace".to_owned(),
                remedy: "take the row out, or correct its name".to_owned(),
            });
        }
    }
    Ok(violations)
}

fn check_package_tree(
    checkout: &Path,
    rule: &DependencyRule,
    member: &WorkspaceMember,
    members: &[WorkspaceMember],
    violations: &mut Vec<RuleViolation>,
) -> Result<(), StructureError> {
    let tree = run_cargo_tree(checkout, &["-p", rule.package, "--prefix", "depth"])?;
    let manifest = read_text(&checkout.join(manifest_path(member)))?;
    let mut chain: Vec<String> = vec![];
    let mut reported: Vec<String> = vec![];
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (depth, name) = split_depth(line)
            .ok_or_else(|| StructureError::new(format!("cargo tree wrote {line:?}")))?;
        chain.truncate(depth);
        chain.push(name.to_owned());
        let is_ours = members.iter().any(|member| member.name == name);
        let broken = if depth == 0 || reported.iter().any(|x| x == name) {
            None
        } else if is_ours && !rule.may_use.contains(&name) {
            Some(format!(
                "of this workspace, {} may use {}",
                rule.package,
                if rule.may_use.is_empty() {
                    "no other package".to_owned()
                } else {
                    format!("only {}", rule.may_use.join(", "))
                }
            ))
        } else {
            find_pattern(rule.never, name)
                .filter(|_| find_pattern(rule.except, name).is_none())
                .map(|pattern| format!("{} may never depend on `{pattern}`", rule.package))
        };
        if let Some(broken) = broken {
            reported.push(name.to_owned());
            violations.push(RuleViolation {
                place: format!(
                    "{}:{}",
                    manifest_path(member),
                    find_manifest_line(&manifest, &chain[1])
                ),
                found: format!("{name} is a dependency: {}", chain.join(" -> ")),
                rule: broken,
                remedy: format!(
                    "drop {} or the feature of it that brings {name}, or move the code that needs \
                     it to a package that may; `cargo tree -p {} -e normal,features -i {name}` \
                     shows the feature",
                    chain[1], rule.package
                ),
            });
        }
    }
    Ok(())
}

fn manifest_path(member: &WorkspaceMember) -> String {
    if member.folder.is_empty() {
        "Cargo.toml".to_owned()
    } else {
        format!("{}/Cargo.toml", member.folder)
    }
}

/// Returns the line that names a dependency, or 1 when it is renamed or inherited in another form.
fn find_manifest_line(manifest: &str, dependency: &str) -> usize {
    let mut in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            let section = line.trim_matches(['[', ']']);
            in_dependencies = section.ends_with("dependencies") && !section.contains("dev-");
        } else if in_dependencies
            && line
                .strip_prefix(dependency)
                .is_some_and(|rest| rest.starts_with([' ', '=', '.']))
        {
            return index + 1;
        }
    }
    1
}

/// Returns the first of the patterns that covers a name.
fn find_pattern<'a>(patterns: &[&'a str], name: &str) -> Option<&'a str> {
    patterns
        .iter()
        .copied()
        .find(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => *pattern == name,
        })
}

/// Splits a line such as `2tokio v1.52.0` into depth and name.
fn split_depth(line: &str) -> Option<(usize, &str)> {
    let digits = line.find(|x: char| !x.is_ascii_digit())?;
    let name = line[digits..].split(' ').next()?;
    Some((line[..digits].parse().ok()?, name))
}

fn list_members(checkout: &Path) -> Result<Vec<WorkspaceMember>, StructureError> {
    let root = checkout
        .canonicalize()
        .map_err(|cause| StructureError::at_file(checkout, &cause))?;
    let arguments = ["--workspace", "--depth", "0", "--prefix", "none"];
    let text = run_cargo_tree(checkout, &arguments)?;
    let mut members = vec![];
    for line in text.lines().filter(|line| !line.is_empty()) {
        // `dbbalance-core v0.1.0 (/checkout/crates/core)`, for macros `(proc-macro)` in between.
        let folder = line
            .rsplit_once('(')
            .and_then(|(_, folder)| {
                Path::new(folder.trim_end_matches(')'))
                    .strip_prefix(&root)
                    .ok()
            })
            .ok_or_else(|| StructureError::new(format!("cargo tree wrote {line:?}")))?;
        members.push(WorkspaceMember {
            name: line.split(' ').next().unwrap_or_default().to_owned(),
            folder: folder.display().to_string(),
        });
    }
    Ok(members)
}

fn run_cargo_tree(checkout: &Path, arguments: &[&str]) -> Result<String, StructureError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--edges", "normal"])
        .args(arguments)
        .current_dir(checkout)
        .output()
        .map_err(|cause| StructureError::new(format!("cargo did not start: {cause}")))?;
    if !output.status.success() {
        return Err(StructureError::new(format!(
            "cargo tree {} failed in {}: {}",
            arguments.join(" "),
            checkout.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_covers_all_names_that_start_so_and_a_name_only_itself() {
        assert_eq!(find_pattern(&["tokio", "aws-*"], "tokio"), Some("tokio"));
        assert_eq!(
            find_pattern(&["tokio", "aws-*"], "aws-sdk-rds"),
            Some("aws-*")
        );
        assert_eq!(find_pattern(&["tokio", "aws-*"], "tokio-util"), None);
    }

    #[test]
    fn the_line_of_a_dependency_is_that_under_dependencies_and_not_under_dev_dependencies() {
        let manifest = "[package]\nname = \"a\"\n[dev-dependencies]\ntokio = \"1\"\n\
                        [dependencies]\ntokio-util = \"1\"\ntokio = \"1\"\n";
        assert_eq!(find_manifest_line(manifest, "tokio"), 7);
        assert_eq!(find_manifest_line(manifest, "serde"), 1);
    }

    #[test]
    fn a_line_of_cargo_tree_is_split_into_depth_and_name() {
        assert_eq!(split_depth("12tokio v1.52.0 (*)"), Some((12, "tokio")));
    }
}
