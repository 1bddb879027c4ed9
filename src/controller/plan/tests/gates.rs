//! Gates: each is named when it holds, in their order.
