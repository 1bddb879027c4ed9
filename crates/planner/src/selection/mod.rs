//! Selection of the pods that move next: by their stamps, or by their measured connections.

pub(crate) mod assessment;
mod batch;
pub(crate) mod by_evidence;
pub(crate) mod by_stamp;
mod inputs;
pub(crate) mod shares;

pub(crate) use inputs::single_pod_method;
