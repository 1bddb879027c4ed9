//! Measures a checkout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::checkout::{
    SourcePackage, find_production_packages, find_rust_files, find_test_packages, read_text,
};
use crate::circles::find_circles;
use crate::error::StructureError;
use crate::facts::FunctionFact;
use crate::imports::find_imports;
use crate::layers::{CrateLayers, LayerTable};
use crate::module_tree::{ModuleTree, SourceModule};
use crate::text_counts::{AttributeCounts, count_attributes};

/// From so many arguments on, without `self`, a function is listed; clippy's default allows 7.
pub const MANY_ARGUMENTS: usize = 7;
/// Circles of more modules than this are counted.
pub const SMALL_CIRCLE: usize = 3;
/// Where the planner is, in the order in which it is looked for.
const PLANNER_FOLDERS: [&str; 2] = ["crates/planner/src", "src/controller/plan"];

/// A name, its place as `file:line`, and a number of arguments or lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeasuredItem {
    /// The name.
    pub name: String,
    /// The file, and where it makes sense the line.
    pub place: String,
    /// What was counted.
    pub count: usize,
}

/// How many of a set of functions have names without an underscore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameShare {
    /// Functions without `main`.
    pub functions: usize,
    /// Those of them with one word for a name.
    pub one_word: usize,
}

/// Modules of one crate that reach each other by imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportCircle {
    /// The root file of the crate.
    pub root: String,
    /// The modules' paths.
    pub modules: Vec<String>,
    /// The layer that holds all of them, if one does.
    pub layer: Option<String>,
}

/// Lines of the planner's files, without tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannerSize {
    /// Its folder.
    pub folder: String,
    /// Its lines, blank lines and comments included.
    pub lines: usize,
}

/// The figures of one checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StructureFigures {
    /// Functions with [`MANY_ARGUMENTS`] or more arguments.
    pub many_arguments: Vec<MeasuredItem>,
    /// Names of functions, methods and trait methods.
    pub all_names: NameShare,
    /// Names of functions outside of `impl` and `trait`.
    pub free_names: NameShare,
    /// Type names that are defined more than once in production code, the testbed and the
    /// simulator, with their places.
    pub doubled_types: Vec<(String, Vec<String>)>,
    /// How many are defined more than once in production code alone.
    pub doubled_in_production: usize,
    /// Circles of more than [`SMALL_CIRCLE`] modules, the largest first.
    pub circles: Vec<ImportCircle>,
    /// The planner's size, if there is a planner.
    pub planner: Option<PlannerSize>,
    /// The longest production function, by lines.
    pub longest_function: MeasuredItem,
    /// The longest production file, by lines.
    pub longest_file: MeasuredItem,
    /// Calls of the form `try_from(..).unwrap_or(..)` in production code.
    pub lossy_conversions: usize,
    /// Attributes in all Rust files.
    pub attributes: AttributeCounts,
}

/// One crate, as it was read.
struct ReadCrate {
    package: SourcePackage,
    root: PathBuf,
    tree: ModuleTree,
}

/// Measures a checkout. `planner` overrides the planner's folder; `layers` decides which
/// circles stay inside one layer; rows that do not fit the checkout are ignored.
///
/// # Errors
/// When a source file cannot be read or is not Rust.
pub fn measure_checkout(
    checkout: &Path,
    planner: Option<&str>,
    layers: &[CrateLayers],
) -> Result<StructureFigures, StructureError> {
    let production = read_crates(checkout, find_production_packages(checkout)?)?;
    let tests = read_crates(checkout, find_test_packages(checkout)?)?;
    let mut figures = StructureFigures::default();
    let modules = distinct_modules(&production);
    for module in &modules {
        for function in &module.facts.functions {
            add_function(&mut figures, module, function);
        }
        figures.lossy_conversions += module.facts.lossy_conversions;
        if module.file_lines > figures.longest_file.count {
            let file = module.file.display().to_string();
            figures.longest_file = MeasuredItem {
                name: file.clone(),
                place: file,
                count: module.file_lines,
            };
        }
    }
    figures
        .many_arguments
        .sort_by_key(|x| (usize::MAX - x.count, x.place.clone()));
    figures.planner = measure_planner(checkout, planner, &modules);
    figures.doubled_in_production = find_doubled_types(&modules).len();
    figures.doubled_types = find_doubled_types(&distinct_modules(production.iter().chain(&tests)));
    for read in &production {
        figures.circles.extend(find_large_circles(read, layers));
    }
    figures
        .circles
        .sort_by_key(|x| usize::MAX - x.modules.len());
    for file in find_rust_files(checkout)? {
        let text = read_text(&checkout.join(&file))?;
        figures.attributes +=
            count_attributes(&text).map_err(|cause| StructureError::at_file(&file, &cause))?;
    }
    Ok(figures)
}

fn read_crates(
    checkout: &Path,
    packages: Vec<SourcePackage>,
) -> Result<Vec<ReadCrate>, StructureError> {
    let mut crates = vec![];
    for package in packages {
        for root in &package.roots {
            crates.push(ReadCrate {
                tree: ModuleTree::read_crate(checkout, &package.folder, root)?,
                package: package.clone(),
                root: root.clone(),
            });
        }
    }
    Ok(crates)
}

/// Returns the production modules, each once though several crates compile its file.
fn distinct_modules<'a>(crates: impl IntoIterator<Item = &'a ReadCrate>) -> Vec<&'a SourceModule> {
    let mut seen = BTreeSet::new();
    let mut modules = vec![];
    for module in crates.into_iter().flat_map(|read| &read.tree.modules) {
        let place = (&module.file, module.line, module.file_lines);
        if !module.is_test_path && seen.insert(place) {
            modules.push(module);
        }
    }
    modules
}

fn add_function(figures: &mut StructureFigures, module: &SourceModule, function: &FunctionFact) {
    let measured = |count| MeasuredItem {
        name: function.name.clone(),
        place: format!("{}:{}", module.file.display(), function.line),
        count,
    };
    if function.arguments >= MANY_ARGUMENTS {
        figures.many_arguments.push(measured(function.arguments));
    }
    if function.lines > figures.longest_function.count {
        figures.longest_function = measured(function.lines);
    }
    if function.name == "main" {
        return;
    }
    let one_word = usize::from(!function.name.trim_start_matches('_').contains('_'));
    figures.all_names.functions += 1;
    figures.all_names.one_word += one_word;
    if function.is_free {
        figures.free_names.functions += 1;
        figures.free_names.one_word += one_word;
    }
}

fn measure_planner(
    checkout: &Path,
    folder: Option<&str>,
    modules: &[&SourceModule],
) -> Option<PlannerSize> {
    let folder = match folder {
        Some(folder) => folder,
        None => PLANNER_FOLDERS
            .into_iter()
            .find(|folder| checkout.join(folder).is_dir())?,
    };
    let mut lines = 0;
    for module in modules
        .iter()
        .filter(|module| module.file.starts_with(folder))
    {
        lines += module.file_lines;
        lines -= module.test_lines.min(lines);
    }
    Some(PlannerSize {
        folder: folder.to_owned(),
        lines,
    })
}

fn find_doubled_types(modules: &[&SourceModule]) -> Vec<(String, Vec<String>)> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for module in modules {
        for (name, line) in &module.facts.types {
            let place = format!("{}:{line}", module.file.display());
            places.entry(name).or_default().push(place);
        }
    }
    places
        .into_iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| (name.to_owned(), places))
        .collect()
}

fn find_large_circles(read: &ReadCrate, layers: &[CrateLayers]) -> Vec<ImportCircle> {
    let tree = &read.tree;
    let table = layers
        .iter()
        .find(|x| x.package_folder() == read.package.folder)
        .map(LayerTable::parse);
    let imports: Vec<_> = find_imports(tree)
        .into_iter()
        .filter(|x| !tree.modules[x.from].is_test_path && !tree.modules[x.to].is_test_path)
        .collect();
    find_circles(tree.modules.len(), &imports)
        .into_iter()
        .filter(|circle| circle.len() > SMALL_CIRCLE)
        .map(|circle| ImportCircle {
            root: read.root.display().to_string(),
            layer: table
                .as_ref()
                .and_then(|x| find_common_layer(x, tree, &circle)),
            modules: circle
                .iter()
                .map(|index| tree.modules[*index].display_path())
                .collect(),
        })
        .collect()
}

fn find_common_layer(table: &LayerTable, tree: &ModuleTree, circle: &[usize]) -> Option<String> {
    let mut places = circle
        .iter()
        .map(|index| table.find_place(&tree.modules[*index].path));
    let first = places.next()??;
    places
        .all(|place| place == Some(first))
        .then(|| table.describe_place(first).to_owned())
}

#[cfg(test)]
mod tests;
