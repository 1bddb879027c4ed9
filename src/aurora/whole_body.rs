//! Rejects an answer whose body ends before its last tag.
//!
//! The SDK accepts truncated XML: fields that were cut off are absent, and a text that was cut is a shorter text, so a
//! resource ID may turn into another one. A buffering proxy can truncate a body and send a matching Content-Length. Only
//! the end of the body is checked here; `validate` checks the fields.

use aws_sdk_rds::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_rds::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use thiserror::Error;

/// The end of the last tag. An answer of the Query protocol is one element named after the action: `…Response`.
const LAST_TAG_ENDS: &[u8] = b"Response>";

/// The body ends before its last tag.
#[derive(Clone, Copy, Debug, Error)]
#[error("it ends after {0} bytes, before its last tag")]
pub(super) struct Truncated(usize);

/// The interceptor that checks successful answers.
#[derive(Debug)]
pub(super) struct WholeBody;

impl Intercept for WholeBody {
    fn name(&self) -> &'static str {
        "WholeBody"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        match response.body().bytes() {
            Some(body) if response.status().is_success() && !has_last_tag(body) => {
                Err(Truncated(body.len()).into())
            }
            // A body that could not be read to its end has its own error already.
            _ => Ok(()),
        }
    }
}

/// Returns whether the last tag of this body closes the answer.
fn has_last_tag(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    let last_tag = body
        .iter()
        .rposition(|byte| *byte == b'<')
        .map(|at| &body[at..]);
    last_tag.is_some_and(|tag| tag.starts_with(b"</") && tag.ends_with(LAST_TAG_ENDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closing_tag_of_the_answer_ends_it() {
        assert!(has_last_tag(b"<AResponse><B/></AResponse>"));
        assert!(has_last_tag(b"<AResponse><B/></AResponse>\n "));
        for body in [
            "",
            "<AResponse>",
            "<AResponse></B>",
            "<AResponse></AResponse",
            "</AResponse>x",
        ] {
            assert!(!has_last_tag(body.as_bytes()), "{body}");
        }
    }
}
