//! Reads the modules of one crate from its root file, along its `mod` declarations, without tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::checkout::{is_test_path, normalize_path, read_text};
use crate::error::StructureError;
use crate::facts::{ModuleFacts, is_test_only, item_attributes};

/// A module that is compiled outside of tests.
#[derive(Clone, Debug)]
pub struct SourceModule {
    /// Its path below the crate's root; empty for the root.
    pub path: Vec<String>,
    /// Its file, relative to the checkout.
    pub file: PathBuf,
    /// The line where an inline module starts, or 1 for a file.
    pub line: usize,
    /// All lines of its file, and 0 for an inline module.
    pub file_lines: usize,
    /// Lines of its inline test modules.
    pub test_lines: usize,
    /// Whether the file holds tests by its place, though no `#[cfg(test)]` says so.
    pub is_test_path: bool,
    /// What it holds.
    pub facts: ModuleFacts,
    /// The index of the module around it.
    pub parent: Option<usize>,
    /// Indices of its child modules, by name.
    pub children: BTreeMap<String, usize>,
}

impl SourceModule {
    /// Returns its path as it is written, `crate` for the root.
    #[must_use]
    pub fn display_path(&self) -> String {
        if self.path.is_empty() {
            "crate".to_owned()
        } else {
            self.path.join("::")
        }
    }
}

/// The modules of one crate; the root is the first.
#[derive(Clone, Debug, Default)]
pub struct ModuleTree {
    /// The modules.
    pub modules: Vec<SourceModule>,
}

/// Where child modules of a module are looked for.
struct ModuleFolders {
    /// The folder of the file.
    of_file: PathBuf,
    /// The folder of files of child modules.
    of_children: PathBuf,
}

struct TreeReader<'a> {
    checkout: &'a Path,
    package: &'a Path,
    tree: ModuleTree,
}

impl ModuleTree {
    /// Reads the crate whose root file is `root`; `root` and `package` are relative to the checkout.
    ///
    /// # Errors
    /// When a file is missing, cannot be read, or is not Rust.
    pub fn read_crate(
        checkout: &Path,
        package: &Path,
        root: &Path,
    ) -> Result<Self, StructureError> {
        let mut reader = TreeReader {
            checkout,
            package,
            tree: Self::default(),
        };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        let folders = ModuleFolders {
            of_file: folder.clone(),
            of_children: folder,
        };
        reader.read_file(root, None, vec![], &folders)?;
        Ok(reader.tree)
    }

    /// Finds a module by its path below the root.
    #[must_use]
    pub fn find_module(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(0, |at, name| {
            self.modules.get(at)?.children.get(name).copied()
        })
    }
}

impl TreeReader<'_> {
    fn read_file(
        &mut self,
        file: &Path,
        parent: Option<usize>,
        path: Vec<String>,
        folders: &ModuleFolders,
    ) -> Result<Option<usize>, StructureError> {
        let text = read_text(&self.checkout.join(file))?;
        let parsed = syn::parse_file(&text).map_err(|cause| {
            let line = cause.span().start().line;
            StructureError::new(format!("{}:{line}: {cause}", file.display()))
        })?;
        if is_test_only(&parsed.attrs) {
            return Ok(None);
        }
        let index = self.add_module(SourceModule {
            path,
            file: file.to_owned(),
            line: 1,
            file_lines: text.lines().count(),
            test_lines: 0,
            is_test_path: is_test_path(file.strip_prefix(self.package).unwrap_or(file)),
            facts: ModuleFacts::default(),
            parent,
            children: BTreeMap::new(),
        });
        self.read_items(index, &parsed.items, folders)?;
        Ok(Some(index))
    }

    fn add_module(&mut self, module: SourceModule) -> usize {
        self.tree.modules.push(module);
        self.tree.modules.len() - 1
    }

    fn read_items(
        &mut self,
        index: usize,
        items: &[syn::Item],
        folders: &ModuleFolders,
    ) -> Result<(), StructureError> {
        for item in items {
            let test_only = is_test_only(item_attributes(item));
            match item {
                syn::Item::Mod(module) if test_only => {
                    if module.content.is_some() {
                        let span = module.span();
                        let lines = span.end().line + 1 - span.start().line;
                        self.tree.modules[index].test_lines += lines;
                    }
                }
                syn::Item::Mod(module) => self.read_child(index, module, folders)?,
                item => self.tree.modules[index].facts.add_item(item),
            }
        }
        Ok(())
    }

    fn read_child(
        &mut self,
        parent: usize,
        item: &syn::ItemMod,
        folders: &ModuleFolders,
    ) -> Result<(), StructureError> {
        let name = item.ident.unraw().to_string();
        let around = &self.tree.modules[parent];
        let (file, is_test_path) = (around.file.clone(), around.is_test_path);
        let mut path = around.path.clone();
        path.push(name.clone());
        let line = item.ident.span().start().line;
        let written = written_path(&item.attrs);
        let child = if let Some((_, items)) = &item.content {
            let folders = ModuleFolders {
                of_file: folders.of_file.clone(),
                of_children: folders.of_children.join(&name),
            };
            let index = self.add_module(SourceModule {
                path,
                file,
                line,
                file_lines: 0,
                test_lines: 0,
                is_test_path,
                facts: ModuleFacts::default(),
                parent: Some(parent),
                children: BTreeMap::new(),
            });
            self.read_items(index, items, &folders)?;
            Some(index)
        } else {
            let candidates = if let Some(written) = written {
                vec![folders.of_file.join(written)]
            } else {
                vec![
                    folders.of_children.join(format!("{name}.rs")),
                    folders.of_children.join(&name).join("mod.rs"),
                ]
            };
            let found = candidates
                .iter()
                .map(|candidate| normalize_path(candidate))
                .find(|candidate| self.checkout.join(candidate).is_file())
                .ok_or_else(|| {
                    let place = format!("{}:{line}", file.display());
                    StructureError::new(format!("{place}: the file of `mod {name}` is missing"))
                })?;
            self.read_file(&found, Some(parent), path, &child_folders(&found))?
        };
        if let Some(child) = child {
            self.tree.modules[parent].children.insert(name, child);
        }
        Ok(())
    }
}

/// Returns the folders that belong to the file of a module below the root.
fn child_folders(file: &Path) -> ModuleFolders {
    let of_file = file.parent().unwrap_or(Path::new("")).to_owned();
    let of_children = match file.file_stem() {
        Some(stem) if stem != "mod" => of_file.join(stem),
        _ => of_file.clone(),
    };
    ModuleFolders {
        of_file,
        of_children,
    }
}

/// Returns the value of a `#[path]` attribute.
fn written_path(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        if let syn::Expr::Lit(literal) = &pair.value
            && let syn::Lit::Str(text) = &literal.lit
            && pair.path.is_ident("path")
        {
            Some(text.value())
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests;
