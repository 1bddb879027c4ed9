//! The Kubernetes edge that the operator and the kubectl plugin share: clients, exec, the facts of a pod object, the
//! effects of the methods with their claims and stamps, and the reader of a pod's sockets.
#![forbid(unsafe_code)]

pub mod clients;
pub mod containers;
pub mod exec;
pub mod methods;
pub mod pods;
pub mod recycle;
pub mod sockets;
