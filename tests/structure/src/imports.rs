//! Resolves the paths of a crate's modules to the modules that they lead into.
//!
//! A path leads into the deepest module that it names; a re-export is not followed. So
//! `use crate::plan::Gate` imports from `plan`, also where `plan` took `Gate` from a child: who
//! imports from a module's front depends on all that the front depends on.

use crate::facts::{NamedPath, PathKind};
use crate::module_tree::ModuleTree;

/// Names lead to names; deeper than this they go round.
const MAX_ALIASES: usize = 8;

/// One module's import of another one of the same crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleImport {
    /// The index of the importing module.
    pub from: usize,
    /// The index of the imported module.
    pub to: usize,
    /// The line of the import.
    pub line: usize,
    /// The import as it is written, such as `super::world::World`.
    pub text: String,
}

/// Finds all imports between different modules of a crate, in order of modules and lines.
///
/// A `mod` declaration is not an import.
#[must_use]
pub fn find_imports(tree: &ModuleTree) -> Vec<ModuleImport> {
    let mut imports = vec![];
    for (from, module) in tree.modules.iter().enumerate() {
        for path in &module.facts.paths {
            let Some((to, _)) = resolve_path(tree, from, &path.segments, 0) else {
                continue;
            };
            let is_exported_macro = path.kind == PathKind::Macro && to == 0;
            if to != from && !is_exported_macro {
                imports.push(ModuleImport {
                    from,
                    to,
                    line: path.line,
                    text: written_text(path),
                });
            }
        }
    }
    imports.sort_by_key(|import| (import.from, import.line));
    imports
}

fn written_text(path: &NamedPath) -> String {
    let end = if path.kind == PathKind::Glob {
        "::*"
    } else {
        ""
    };
    path.segments.join("::") + end
}

/// Returns the deepest module that a path names, and how many of its segments lead there.
fn resolve_path(
    tree: &ModuleTree,
    from: usize,
    segments: &[String],
    aliases: usize,
) -> Option<(usize, usize)> {
    let module = &tree.modules[from];
    let (mut at, mut used) = match segments.first()?.as_str() {
        "crate" => (0, 1),
        "self" => (from, 1),
        "super" => (module.parent?, 1),
        name => match module.children.get(name) {
            Some(child) => (*child, 1),
            None => (resolve_name(tree, from, name, aliases)?, 1),
        },
    };
    for segment in &segments[1..] {
        at = match tree.modules[at].children.get(segment) {
            Some(child) => *child,
            None if segment == "super" => tree.modules[at].parent?,
            None => break,
        };
        used += 1;
    }
    Some((at, used))
}

/// Resolves a name that `use` brought into a module, where it is a module's.
fn resolve_name(tree: &ModuleTree, from: usize, name: &str, aliases: usize) -> Option<usize> {
    if aliases == MAX_ALIASES {
        return None;
    }
    let find_whole = |path: &NamedPath| {
        let (to, used) = resolve_path(tree, from, &path.segments, aliases + 1)?;
        (used == path.segments.len()).then_some(to)
    };
    let module = &tree.modules[from];
    let is_local = |path: &NamedPath| {
        let first = path.segments.first().map_or("", String::as_str);
        ["crate", "self", "super"].contains(&first) || module.children.contains_key(first)
    };
    module.facts.paths.iter().find_map(|path| match &path.kind {
        // `use http;` says nothing about where `http` is.
        PathKind::Use(alias) if alias == name && path.segments != [name] => find_whole(path),
        PathKind::Glob if is_local(path) => {
            let around = find_whole(path)?;
            tree.modules[around].children.get(name).copied()
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
