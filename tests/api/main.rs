//! The CRD on a real API server: each rule with something that it takes and something that it refuses, the defaults,
//! and what a user of `kubectl` sees.
//!
//! One testbed serves all parts, one after the other; a part that fails does not keep the next from running. What
//! needs no server is in [`schema`], as ordinary tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds;
mod examples;
mod kubectl;
mod lifetime;
mod plugin;
mod rules;
mod schema;
mod steering;
mod table;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use dbbalance_testkit::api_server::KubeApiServer;

/// A part: its name, and what it does; it gives the number of things that it has checked.
type Part = (&'static str, fn(&KubeApiServer) -> usize);

const PARTS: [Part; 17] = [
    ("rules between fields", rules::between_fields),
    ("words and required fields", words::known),
    ("unknown fields", words::unknown_fields),
    ("numbers", bounds::numbers),
    ("texts", bounds::texts),
    ("lists", bounds::lists),
    ("immutability", lifetime::immutability),
    ("defaults", lifetime::defaults),
    ("status", lifetime::status),
    ("kubectl get and wait", kubectl::get_and_wait),
    ("kubectl explain", kubectl::explain),
    ("examples", examples::all_apply),
    ("the rendered chart", examples::the_base_applies),
    ("plugin shows", plugin::shows),
    ("plugin asks", plugin::asks),
    ("plugin rights", plugin::rights),
    (
        "rights on names",
        steering::the_account_leads_listed_names_alone,
    ),
];

#[test]
fn the_api_server_holds_the_contract() {
    let (mut failed, mut checked) = (Vec::new(), 0);
    KubeApiServer::with("dbb-api", |server| {
        for (name, part) in PARTS {
            let began = Instant::now();
            match catch_unwind(AssertUnwindSafe(|| part(server))) {
                Ok(count) => {
                    println!("{name}: {count} checks, {} ms", began.elapsed().as_millis());
                    checked += count;
                }
                Err(_) => failed.push(name),
            }
        }
    });
    println!("{checked} checks");
    assert!(failed.is_empty(), "failed, see above: {failed:?}");
}
