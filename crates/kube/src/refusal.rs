//! Tells a lost race from refused content by the shape of the API server's answer. Its texts are worded for people and
//! change between versions, and they quote names that users choose.

use kube::core::Status;

/// Returns whether the object was not as a write expected: another client has written it since it was read.
///
/// The API server answers a resource version that has changed with 409, and a failed `test` operation of a JSON patch
/// with a 422 that names neither object nor field. Content that the schema or an admission policy refuses is a 422 too,
/// but its `details` name the object.
#[must_use]
pub fn is_lost_race(status: &Status) -> bool {
    status.code == 409 || (status.code == 422 && names_nothing(status))
}

fn names_nothing(status: &Status) -> bool {
    status
        .details
        .as_ref()
        .is_none_or(|d| d.name.is_empty() && d.kind.is_empty() && d.causes.is_empty())
}

/// Returns whether the refusal names this field as a cause, as in `metadata.uid`.
#[must_use]
pub fn is_about_field(status: &Status, field: &str) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|d| d.causes.iter().any(|c| c.field == field))
}

#[cfg(test)]
mod tests;
