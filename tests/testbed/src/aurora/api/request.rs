//! Parses a request of the Query protocol: caller, action and parameters. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::fault;
use super::{ACCOUNT, FOREIGN_KEY, REGION};
use crate::aurora::inventory::ApiError;

/// Most values of a filter. AWS: "Only up to 100 unique filter DB Cluster Identifiers may be specified per filter."
const MOST_VALUES: usize = 100;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiRequest {
    pub(super) action: String,
    pub(super) version: String,
    /// The caller's account: all but its number is the emulators' custom, as no signature is checked.
    pub(super) account: String,
    /// The region of the signature.
    pub(super) region: String,
    parameters: BTreeMap<String, String>,
}

/// A name with the values that it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestFilter {
    pub(super) name: String,
    pub(super) values: Vec<String>,
}

/// Returns account and region of a request, by `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn parse_caller(authorization: &str) -> Option<(String, String)> {
    let (_, rest) = authorization.split_once("Credential=")?;
    let mut scope = rest.split(',').next()?.trim().split('/');
    let (key, region) = (scope.next()?, scope.nth(1)?);
    let account = key.strip_prefix(FOREIGN_KEY).unwrap_or(ACCOUNT);
    Some((account.to_owned(), region.to_owned()))
}

impl ApiRequest {
    /// From the `Authorization` header and the form (the body, or the query of a GET).
    pub(super) fn read(authorization: Option<&str>, form: &[u8]) -> Result<Self, ApiError> {
        let (account, region) = authorization
            .and_then(parse_caller)
            .ok_or_else(fault::missing_signature)?;
        let mut parameters: BTreeMap<String, String> =
            form_urlencoded::parse(form).into_owned().collect();
        let action = parameters
            .remove("Action")
            .ok_or_else(fault::missing_action)?;
        Ok(Self {
            action,
            version: parameters.remove("Version").unwrap_or_default(),
            account,
            region,
            parameters,
        })
    }

    /// Reports whether it is about the account and region of these databases.
    pub(super) fn is_home_region(&self) -> bool {
        self.account == ACCOUNT && self.region == REGION
    }

    /// A parameter; an empty one counts as left out.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub(super) fn require(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| fault::missing_parameter(name))
    }

    /// An identifier or ARN of this kind, as an identifier.
    pub(super) fn identifier(&self, name: &str, kind: &str) -> Option<String> {
        self.get(name)
            // An ARN of something else names nothing here; its own text says so in the error.
            .map(|value| parse_identifier(value, kind).unwrap_or_else(|| value.to_owned()))
    }

    /// `Filters.Filter.1.Name`, `Filters.Filter.1.Values.Value.1`, …, each with a known name.
    pub(super) fn filters(&self, known: &[&str]) -> Result<Vec<RequestFilter>, ApiError> {
        let mut filters: BTreeMap<u32, RequestFilter> = BTreeMap::new();
        for (key, value) in &self.parameters {
            let Some((number, rest)) = key
                .strip_prefix("Filters.Filter.")
                .and_then(|rest| rest.split_once('.'))
            else {
                continue;
            };
            let number = number
                .parse()
                .map_err(|_| fault::bad_value(format!("Invalid filter {key}")))?;
            let filter = filters.entry(number).or_insert_with(|| RequestFilter {
                name: String::new(),
                values: Vec::new(),
            });
            if rest == "Name" {
                value.clone_into(&mut filter.name);
            } else if rest.starts_with("Values.Value.") {
                filter.values.push(value.clone());
            }
        }
        for filter in filters.values() {
            if !known.contains(&filter.name.as_str()) {
                return Err(fault::bad_value(format!(
                    "Unrecognized filter name: {}",
                    filter.name
                )));
            }
            if filter.values.is_empty() {
                return Err(fault::bad_value(format!(
                    "Filter {} has no values",
                    filter.name
                )));
            }
            if filter.values.iter().collect::<BTreeSet<_>>().len() > MOST_VALUES {
                return Err(fault::bad_combination(format!(
                    "Only up to {MOST_VALUES} unique filter {} may be specified per filter.",
                    plural_filter(&filter.name)
                )));
            }
        }
        Ok(filters.into_values().collect())
    }

    /// `MaxRecords` and where the last page ended.
    pub(super) fn page(&self) -> Result<PageRequest, ApiError> {
        let size = match self.get("MaxRecords") {
            None => 100,
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (20..=100).contains(number))
                .ok_or_else(|| {
                    fault::bad_value(format!(
                        "Invalid value {text} for MaxRecords. Must be between 20 and 100"
                    ))
                })?,
        };
        let after = match self.get("Marker") {
            None => None,
            Some(marker) => {
                Some(decode_marker(marker).ok_or_else(|| fault::bad_value("Invalid Marker"))?)
            }
        };
        Ok(PageRequest { size, after })
    }
}

/// AWS's words for a filter's values.
fn plural_filter(filter: &str) -> &str {
    match filter {
        "db-cluster-id" => "DB Cluster Identifiers",
        "db-instance-id" => "DB Instance Identifiers",
        other => other,
    }
}

/// Which rows of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRequest {
    pub(super) size: usize,
    /// Identifier of the last row of the previous page.
    pub(super) after: Option<String>,
}

/// Opaque as AWS's is, and good for a list that changes meanwhile: it says after whom to go on.
pub(super) fn encode_marker(last: &str) -> String {
    last.bytes().fold(String::from("testbed-"), |text, byte| {
        format!("{text}{byte:02x}")
    })
}

fn decode_marker(text: &str) -> Option<String> {
    let digits = text.strip_prefix("testbed-")?;
    if digits.is_empty() || digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}

/// The identifier in an identifier or an ARN of this kind (`cluster` or `db`), in lower case: AWS does not distinguish
/// cases apart. `None`: an ARN of another kind, account or region.
pub(super) fn parse_identifier(value: &str, kind: &str) -> Option<String> {
    let value = value.to_ascii_lowercase();
    if !value.starts_with("arn:") {
        return Some(value);
    }
    value
        .strip_prefix(&super::rds_arn(kind, ""))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
