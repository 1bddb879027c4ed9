//! Collects what is measured in one module's items: functions, types, imports, lossy conversions.

use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::tokens::{ScannedTokens, StringPaths, scan_tokens};

/// A function, method or trait method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionFact {
    /// Its name.
    pub name: String,
    /// The line of its signature.
    pub line: usize,
    /// Lines from its signature to its end.
    pub lines: usize,
    /// Arguments without `self`.
    pub arguments: usize,
    /// Whether it stands outside of `impl` and `trait`.
    pub is_free: bool,
}

/// A path that code names, with `use` or inline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// Its segments; the last may be an item.
    pub segments: Vec<String>,
    /// Its line.
    pub line: usize,
    /// How it is used.
    pub kind: PathKind,
}

/// How a path is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// By `use`, under this name.
    Use(String),
    /// By `use path::*`.
    Glob,
    /// Inline, in an expression, type or pattern.
    Inline,
    /// As the name of a macro; exported macros live at the crate's root, whoever defines them.
    Macro,
}

/// What one module holds, without its child modules and its tests.
#[derive(Clone, Debug, Default)]
pub struct ModuleFacts {
    /// Functions.
    pub functions: Vec<FunctionFact>,
    /// Names and lines of structs, enums, unions, traits and type aliases.
    pub types: Vec<(String, usize)>,
    /// Paths of two or more segments.
    pub paths: Vec<NamedPath>,
    /// Calls of the form `try_from(..).unwrap_or(..)`.
    pub lossy_conversions: usize,
}

impl ModuleFacts {
    /// Adds what an item holds; an item for tests only adds nothing.
    pub fn add_item(&mut self, item: &syn::Item) {
        self.visit_item(item);
    }

    fn add_function(&mut self, sig: &syn::Signature, end: usize, is_free: bool) {
        let line = sig.span().start().line;
        let receivers = usize::from(sig.receiver().is_some());
        self.functions.push(FunctionFact {
            name: sig.ident.unraw().to_string(),
            line,
            lines: end + 1 - line,
            arguments: sig.inputs.len() - receivers,
            is_free,
        });
    }

    fn add_type(&mut self, ident: &syn::Ident) {
        let name = ident.unraw().to_string();
        self.types.push((name, ident.span().start().line));
    }

    fn add_path(&mut self, path: &syn::Path, kind: PathKind) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            self.paths.push(NamedPath {
                segments: path
                    .segments
                    .iter()
                    .map(|segment| segment.ident.unraw().to_string())
                    .collect(),
                line: path.span().start().line,
                kind,
            });
        }
    }

    fn add_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |name: &syn::Ident| {
            let mut path = prefix.to_vec();
            path.push(name.unraw().to_string());
            path
        };
        let (ident, rename) = match tree {
            syn::UseTree::Path(path) => return self.add_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, prefix);
                }
                return;
            }
            syn::UseTree::Glob(_) => {
                self.paths.push(NamedPath {
                    segments: prefix.to_vec(),
                    line: tree.span().start().line,
                    kind: PathKind::Glob,
                });
                return;
            }
            syn::UseTree::Name(name) => (&name.ident, &name.ident),
            syn::UseTree::Rename(name) => (&name.ident, &name.rename),
        };
        let is_prefix = ident == "self";
        let segments = if is_prefix {
            prefix.to_vec()
        } else {
            with(ident)
        };
        let name = if rename == "self" {
            prefix.last().cloned().unwrap_or_default()
        } else {
            rename.unraw().to_string()
        };
        self.paths.push(NamedPath {
            segments,
            line: ident.span().start().line,
            kind: PathKind::Use(name),
        });
    }

    fn add_scanned(&mut self, scanned: ScannedTokens) {
        self.lossy_conversions += scanned.lossy_conversions;
        for item in &scanned.uses {
            self.visit_item_use(item);
        }
        self.paths
            .extend(scanned.paths.into_iter().map(|path| NamedPath {
                segments: path.segments,
                line: path.line,
                kind: if path.is_macro {
                    PathKind::Macro
                } else {
                    PathKind::Inline
                },
            }));
    }
}

impl<'ast> Visit<'ast> for ModuleFacts {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            syn::ImplItem::Macro(item) => &item.attrs,
            _ => return,
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if !is_test_only(&item.attrs) {
            self.add_function(&item.sig, item.span().end().line, false);
            visit::visit_trait_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add_function(&item.sig, item.span().end().line, false);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add_function(&item.sig, item.span().end().line, true);
        visit::visit_item_fn(self, item);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_test_only(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_expr_block(&mut self, block: &'ast syn::ExprBlock) {
        if !is_test_only(&block.attrs) {
            visit::visit_expr_block(self, block);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_test_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !is_test_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add_type(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add_type(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.add_type(&item.ident);
        visit::visit_item_union(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add_type(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add_type(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.add_use(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add_path(path, PathKind::Inline);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.add_path(&mac.path, PathKind::Macro);
        self.add_scanned(scan_tokens(mac.tokens.clone(), StringPaths::Ignore));
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_scanned(scan_tokens(list.tokens.clone(), StringPaths::Read));
        }
    }

    // `pub(in crate::plugin)` names a module and imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap_or"
            && let syn::Expr::Call(inner) = &*call.receiver
            && let syn::Expr::Path(function) = &*inner.func
            && let Some(last) = function.path.segments.last()
            && last.ident == "try_from"
        {
            self.lossy_conversions += 1;
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Returns the attributes of an item.
#[must_use]
pub fn item_attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::TraitAlias(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether attributes keep an item out of every build but that of tests.
#[must_use]
pub fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Meta>()
                    .is_ok_and(|predicate| evaluate_without_test(&predicate) == Some(false)))
    })
}

/// Evaluates a `cfg` predicate in a build without tests; `None` when features or the platform decide.
fn evaluate_without_test(predicate: &syn::Meta) -> Option<bool> {
    let syn::Meta::List(list) = predicate else {
        return predicate.path().is_ident("test").then_some(false);
    };
    let parts = list
        .parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated)
        .ok()?;
    let values: Vec<Option<bool>> = parts.iter().map(evaluate_without_test).collect();
    let decide = |word: bool| {
        if values.contains(&Some(word)) {
            Some(word)
        } else {
            values
                .iter()
                .all(|value| *value == Some(!word))
                .then_some(!word)
        }
    };
    if list.path.is_ident("not") {
        values.first().copied().flatten().map(|value| !value)
    } else if list.path.is_ident("all") {
        decide(false)
    } else {
        decide(true)
    }
}

#[cfg(test)]
mod tests;
