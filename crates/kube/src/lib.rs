//! The Kubernetes edge that the operator and the kubectl plugin share: clients, exec, what a pod's object says, the
//! methods' effects with their claims and stamps, and the reader of a pod's sockets.
#![forbid(unsafe_code)]

pub mod clients;
pub mod exec;
pub mod methods;
pub mod pods;
pub mod recycle;
pub mod sockets;
