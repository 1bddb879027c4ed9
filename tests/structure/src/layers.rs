//! Checks that no module imports one of a higher layer.
//!
//! The root module of a crate is above all layers: it may import everything, and no module may
//! import from it. Modules for tests (`#[cfg(test)]`) are not held to the layers.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checkout::{SourcePackage, read_package};
use crate::error::StructureError;
use crate::imports::{ModuleImport, find_imports};
use crate::module_tree::ModuleTree;

/// The layers of one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrateLayers {
    /// The package's folder in the checkout, `.` for the root.
    pub folder: &'static str,
    /// The layers from top to bottom. A line names modules by their paths below the crate's root,
    /// as in `"controller::plan, controller::world"`; a module stands for its children too, unless
    /// a line names them. Modules with a comma between them may import each other and all lines
    /// below. Modules with a bar between them, as in `"epochs | gates"`, may not import each other.
    pub lines: &'static [&'static str],
}

impl CrateLayers {
    /// Returns the package's folder as a path relative to the checkout, empty for the root.
    #[must_use]
    pub fn package_folder(&self) -> &'static Path {
        Path::new(if self.folder == "." { "" } else { self.folder })
    }
}

/// A broken rule, with its place and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleViolation {
    /// The file and line, relative to the checkout.
    pub place: String,
    /// What was found there.
    pub found: String,
    /// The rule that it breaks.
    pub rule: String,
    /// How to mend it.
    pub remedy: String,
}

impl std::fmt::Display for RuleViolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            place,
            found,
            rule,
            remedy,
        } = self;
        write!(f, "{place}: {found}\n  rule: {rule}\n  do:   {remedy}")
    }
}

/// A place in the layers: the line, counted from the top, and the part between bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerPlace {
    line: usize,
    part: usize,
}

/// The layers of one package, ready to look modules up.
pub struct LayerTable {
    rows: &'static [&'static str],
    places: BTreeMap<Vec<String>, LayerPlace>,
    repeated: Vec<String>,
}

impl LayerTable {
    /// Reads the lines of a package.
    #[must_use]
    pub fn parse(layers: &CrateLayers) -> Self {
        let mut table = Self {
            rows: layers.lines,
            places: BTreeMap::new(),
            repeated: vec![],
        };
        for (line, row) in layers.lines.iter().enumerate() {
            for (part, names) in row.split('|').enumerate() {
                for name in names.split(',').map(str::trim) {
                    let path = name.split("::").map(str::to_owned).collect();
                    let place = LayerPlace { line, part };
                    if table.places.insert(path, place).is_some() {
                        table.repeated.push(name.to_owned());
                    }
                }
            }
        }
        table
    }

    /// Returns the place of a module: that of the longest path in the table that leads to it.
    #[must_use]
    pub fn find_place(&self, path: &[String]) -> Option<LayerPlace> {
        (1..=path.len())
            .rev()
            .find_map(|length| self.places.get(&path[..length]))
            .copied()
    }

    /// Returns the modules of a place as the table writes them.
    #[must_use]
    pub fn describe_place(&self, place: LayerPlace) -> &'static str {
        let row = self.rows[place.line];
        row.split('|').nth(place.part).unwrap_or(row).trim()
    }
}

/// Checks all packages of a table, and that the table fits them.
///
/// # Errors
/// When a source file cannot be read or is not Rust.
pub fn check_layers(
    checkout: &Path,
    crates: &[CrateLayers],
) -> Result<Vec<RuleViolation>, StructureError> {
    let mut violations = vec![];
    for layers in crates {
        match read_package(checkout, layers.package_folder())? {
            Some(package) if !package.roots.is_empty() => {
                check_package(checkout, &package, layers, &mut violations)?;
            }
            _ => violations.push(RuleViolation {
                place: format!("{}/Cargo.toml", layers.folder),
                found: "the table of layers names this folder, and no package with code is there"
                    .to_owned(),
                rule: "each row of the table stands for a package".to_owned(),
                remedy: "take the row out, or correct its folder".to_owned(),
            }),
        }
    }
    Ok(violations)
}

fn check_package(
    checkout: &Path,
    package: &SourcePackage,
    layers: &CrateLayers,
    violations: &mut Vec<RuleViolation>,
) -> Result<(), StructureError> {
    let table = LayerTable::parse(layers);
    let mut trees = vec![];
    for root in &package.roots {
        trees.push(ModuleTree::read_crate(checkout, &package.folder, root)?);
    }
    let wrong_row = |found: String, remedy: &str| RuleViolation {
        place: package.folder.join("Cargo.toml").display().to_string(),
        found,
        rule: "the table of layers names each module once, and only modules that exist".to_owned(),
        remedy: remedy.to_owned(),
    };
    for name in &table.repeated {
        violations.push(wrong_row(
            format!("the layers of {} name `{name}` twice", package.name),
            "keep the one line where the module belongs",
        ));
    }
    for path in table.places.keys() {
        if trees.iter().all(|tree| tree.find_module(path).is_none()) {
            let name = path.join("::");
            violations.push(wrong_row(
                format!(
                    "the layers of {} name `{name}`, which is not one of its modules",
                    package.name
                ),
                "take the name out, or correct it",
            ));
        }
    }
    for tree in &trees {
        violations.extend(find_unplaced(package, tree, &table));
        for import in find_imports(tree) {
            violations.extend(check_import(package, tree, &table, &import));
        }
    }
    Ok(())
}

/// Finds modules that the table does not place; of nested ones, the outermost.
fn find_unplaced(
    package: &SourcePackage,
    tree: &ModuleTree,
    table: &LayerTable,
) -> Vec<RuleViolation> {
    tree.modules
        .iter()
        .filter(|module| {
            let is_outermost = module.path.len() == 1
                || module
                    .parent
                    .is_some_and(|x| table.find_place(&tree.modules[x].path).is_some());
            !module.path.is_empty() && is_outermost && table.find_place(&module.path).is_none()
        })
        .map(|module| RuleViolation {
            place: format!("{}:{}", module.file.display(), module.line),
            found: format!("the module `{}` is in no layer", module.display_path()),
            rule: format!("the table of layers places each module of {}", package.name),
            remedy: "add it to the lowest line whose modules it may be imported with, above all \
                     that it imports"
                .to_owned(),
        })
        .collect()
}

fn check_import(
    package: &SourcePackage,
    tree: &ModuleTree,
    table: &LayerTable,
    import: &ModuleImport,
) -> Option<RuleViolation> {
    let (from, to) = (&tree.modules[import.from], &tree.modules[import.to]);
    let from_place = table.find_place(&from.path)?;
    let mine = table.describe_place(from_place);
    let (rule, remedy) = if to.path.is_empty() {
        (
            format!(
                "in {} the crate's root is above all layers; no module imports from it",
                package.name
            ),
            "import the item from the module that defines it; if the root does, move it down"
                .to_owned(),
        )
    } else {
        let to_place = table.find_place(&to.path)?;
        let other = table.describe_place(to_place);
        let below = table.rows[from_place.line + 1..].join("; ");
        if to_place.line < from_place.line {
            (
                format!(
                    "in {} the layer `{mine}` is below `{other}` and may import only itself{}",
                    package.name,
                    if below.is_empty() {
                        String::new()
                    } else {
                        format!(" and, top to bottom, {below}")
                    }
                ),
                format!(
                    "move the item down into `{mine}` or lower, or pass its value in from `{other}`"
                ),
            )
        } else if to_place.line == from_place.line && to_place.part != from_place.part {
            (
                format!(
                    "in {} `{mine}` and `{other}` are beside each other, and neither imports the other",
                    package.name
                ),
                if below.is_empty() {
                    "move what both need into a layer below them".to_owned()
                } else {
                    format!("move what both need into a layer below them: {below}")
                },
            )
        } else {
            return None;
        }
    };
    Some(RuleViolation {
        place: format!("{}:{}", from.file.display(), import.line),
        found: format!(
            "`{}` imports `{}` (module `{}`)",
            from.display_path(),
            import.text,
            to.display_path()
        ),
        rule,
        remedy,
    })
}

#[cfg(test)]
mod tests;
