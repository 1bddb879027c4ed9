//! Decides which namespaces may name which clusters and roles, as the operator's configuration binds them.
//!
//! Whoever may write a policy would otherwise see the members of any cluster of the account, and take part in its budget.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;

use super::access::{ClusterKey, account_of};

/// Describes why the bindings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindingsError {
    /// The file cannot be read.
    #[error("cannot read the clusters file {path}: {source}")]
    Unreadable {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a list of bindings.
    #[error("the clusters file is not a JSON list of bindings: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A binding contradicts itself.
    #[error("clusters[{index}]: {problem}")]
    Invalid {
        /// Its place in the list.
        index: usize,
        /// What is wrong.
        problem: String,
    },
}

/// A binding as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BindingText {
    identifier: Option<String>,
    arn: Option<String>,
    region: Option<String>,
    #[serde(rename = "roleARN")]
    role_arn: Option<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
}

/// A name, or with a `*` at its end all names that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NamePattern {
    Exact(String),
    Prefix(String),
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |p| (p, true));
        if name.contains('*') {
            return Err(format!("{text:?}: a * may only be at the end"));
        }
        Ok(if is_prefix {
            Self::Prefix(name.to_owned())
        } else {
            Self::Exact(name.to_owned())
        })
    }

    fn is_match(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

/// Clusters and a role, and the namespaces that may name them.
#[derive(Clone, Debug)]
struct Binding {
    identifier: NamePattern,
    /// `None` is every region.
    region: Option<String>,
    /// `None` is every account.
    account: Option<String>,
    /// The role that the policy must name; `None`: it must name none.
    role: Option<String>,
    namespaces: Vec<NamePattern>,
    selector: Option<Selector>,
}

/// A policy's namespace, and the cluster that it names.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRequest<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Its labels; `None` if they are not known.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// The cluster, the role and the region.
    pub key: &'a ClusterKey,
    /// The cluster's ARN, once the RDS API has reported it.
    pub arn: Option<&'a str>,
}

/// The bindings. An empty list allows every namespace every cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterBindings(Vec<Binding>);

impl ClusterBindings {
    /// Reads the bindings from a file.
    ///
    /// # Errors
    /// When the file cannot be read, or a binding is wrong.
    pub fn read(path: &str) -> Result<Self, BindingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| BindingsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Parses a JSON list of bindings.
    ///
    /// # Errors
    /// When the text is not such a list, or a binding is wrong.
    pub fn parse(text: &str) -> Result<Self, BindingsError> {
        let texts: Vec<BindingText> = serde_json::from_str(text)?;
        let bindings = texts.into_iter().enumerate().map(|(index, text)| {
            parse_binding(text).map_err(|problem| BindingsError::Invalid { index, problem })
        });
        Ok(Self(bindings.collect::<Result<_, _>>()?))
    }

    /// Returns whether the namespace may name this cluster by this role.
    #[must_use]
    pub fn is_allowed(&self, request: ClusterRequest) -> bool {
        self.0.is_empty() || self.0.iter().any(|binding| binding.is_match(request))
    }

    /// Returns whether labels of namespaces are needed.
    #[must_use]
    pub fn has_selectors(&self) -> bool {
        self.0.iter().any(|binding| binding.selector.is_some())
    }

    /// Returns the roles that bindings name.
    pub fn roles(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().filter_map(|binding| binding.role.clone())
    }
}

impl Binding {
    fn is_match(&self, request: ClusterRequest) -> bool {
        let source = &request.key.source;
        let role = source.role.as_ref().map(|role| role.arn.as_str());
        let by_role = role.and_then(account_of);
        // The account of the own identity is known only once the cluster has been read.
        let account = request.arn.and_then(account_of).or(by_role);
        let is_account = |bound: &String| account.is_none_or(|account| account == bound);
        let is_named = self
            .namespaces
            .iter()
            .any(|name| name.is_match(request.namespace));
        let is_selected = || {
            let selector = self.selector.as_ref();
            selector
                .zip(request.labels)
                .is_some_and(|(selector, labels)| selector.matches(labels))
        };
        role == self.role.as_deref()
            && self.region.as_ref().is_none_or(|r| *r == source.region)
            && self.account.as_ref().is_none_or(is_account)
            && self
                .identifier
                .is_match(&request.key.cluster.0.to_ascii_lowercase())
            && (is_named || is_selected())
    }
}

fn parse_binding(text: BindingText) -> Result<Binding, String> {
    let (identifier, region, account) = match (text.identifier, text.arn) {
        (Some(identifier), None) => (identifier, text.region, None),
        (None, Some(arn)) => {
            let (region, account, identifier) =
                parse_cluster_arn(&arn).ok_or_else(|| {
                    format!(
                        "arn {arn:?} is none of a cluster (example: arn:aws:rds:eu-west-1:123456789012:cluster:orders-db)"
                    )
                })?;
            if text.region.is_some_and(|other| other != region) {
                return Err("region is not that of arn".to_owned());
            }
            (identifier, Some(region), Some(account))
        }
        _ => return Err("needs either identifier or arn".to_owned()),
    };
    if text.namespaces.is_empty() && text.namespace_selector.is_none() {
        return Err("needs namespaces or namespaceSelector".to_owned());
    }
    let namespaces = text.namespaces.iter().map(|n| NamePattern::parse(n));
    let selector = text.namespace_selector.map(Selector::try_from).transpose();
    Ok(Binding {
        identifier: NamePattern::parse(&identifier.to_ascii_lowercase())?,
        region,
        account,
        role: text.role_arn,
        namespaces: namespaces.collect::<Result<_, _>>()?,
        selector: selector.map_err(|error| format!("namespaceSelector: {error}"))?,
    })
}

/// Returns region, account and identifier of a cluster's ARN.
fn parse_cluster_arn(arn: &str) -> Option<(String, String, String)> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "rds", region, account, "cluster", identifier]
            if !region.is_empty() && !account.is_empty() && !identifier.is_empty() =>
        {
            let owned = |part: &&str| (*part).to_owned();
            Some((owned(region), owned(account), owned(identifier)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
