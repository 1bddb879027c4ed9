//! A reader name that is led by a Service, on a real API server, by real `CoreDNS` with the Corefiles of EKS, kubeadm and
//! `NodeLocal` `DNSCache`: every answer follows a patch within the caches' bound, and the name leads to Aurora whenever
//! nobody leads it. No operator is there: the objects are patched by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use dbbalance_testbed::aurora::address::AUTHORITY;
use dbbalance_testbed::aurora::coredns;
use dbbalance_testbed::aurora::corefile::Distribution;
use dbbalance_testbed::aurora::dns::{self, DnsOptions};
use dbbalance_testbed::aurora::inventory::{ControlPlane as _, reader_endpoint};
use dbbalance_testbed::aurora::steered_name::{
    alias_patch, alias_service, empty_slice, headless_service, service_host, slice_patch,
};
use dbbalance_testbed::kubernetes::network;
use support::dns::orders_cluster;
use support::steered::{APP, CLUSTER, SERVICE, SYSTEM, SteeredAnswer, SteeredStage};
use support::{ExclusiveMachine, OwnTestbed, deploy_testapp, run_getent};

/// The Service's own name: an alias that is flipped.
fn alias_is_flipped(stage: &SteeredStage<'_>, pod: &str, reader: (&str, Ipv4Addr)) {
    let (name, bound) = (
        service_host(SERVICE, APP),
        stage.distribution.service_bound(),
    );
    stage.create(APP, &alias_service(SERVICE, CLUSTER));
    stage.await_led(&name, SteeredAnswer::Aurora);
    let to = SteeredAnswer::To(reader.1);
    stage.follows(&name, to, bound, "alias narrowed", || {
        stage.patch(APP, "service", &alias_patch(CLUSTER, Some(reader.0)));
    });
    // By the short name, as an app writes it, with a pod's search list.
    let (told, _) = run_getent(stage.testbed, pod, SERVICE);
    assert!(told.starts_with(&reader.1.to_string()), "{told}");
    stage.follows(&name, SteeredAnswer::Aurora, bound, "alias widened", || {
        stage.patch(APP, "service", &alias_patch(CLUSTER, None));
    });
    stage.delete(APP, "service");
    stage.await_led(&name, SteeredAnswer::Nowhere);
}

/// Aurora's own name, by the server block.
fn slice_leads_and_falls_back(stage: &SteeredStage<'_>, pod: &str, reader: Ipv4Addr) {
    let (name, now) = (reader_endpoint(CLUSTER), Duration::ZERO);
    let to = SteeredAnswer::To(reader);
    stage.await_led(&name, SteeredAnswer::Aurora);
    stage.follows(
        &name,
        SteeredAnswer::Aurora,
        now,
        "an empty slice is made",
        || {
            stage.create(SYSTEM, &headless_service(SERVICE));
            stage.create(SYSTEM, &empty_slice(SERVICE));
        },
    );
    let fill = || stage.patch(SYSTEM, "endpointslice", &slice_patch(Some(reader)));
    stage.follows(&name, to, now, "slice filled", fill);
    let (told, _) = run_getent(stage.testbed, pod, &name);
    assert!(told.starts_with(&reader.to_string()), "{told}");
    stage.follows(&name, SteeredAnswer::Aurora, now, "slice emptied", || {
        stage.patch(SYSTEM, "endpointslice", &slice_patch(None));
    });
    stage.follows(&name, to, now, "slice filled again", fill);
    stage.follows(&name, SteeredAnswer::Aurora, now, "Service deleted", || {
        stage.delete(SYSTEM, "service");
    });
    stage.follows(&name, to, now, "Service made again", || {
        stage.create(SYSTEM, &headless_service(SERVICE));
    });
    stage.follows(&name, SteeredAnswer::Aurora, now, "slice deleted", || {
        stage.delete(SYSTEM, "endpointslice");
    });
    stage.delete(SYSTEM, "service");
}

/// Without the server block, or with one that somebody has reverted, Aurora's name leads to Aurora whatever the
/// slice says.
fn name_without_block_is_not_led(stage: &SteeredStage<'_>, reader: Ipv4Addr) {
    stage.create(SYSTEM, &headless_service(SERVICE));
    stage.create(SYSTEM, &empty_slice(SERVICE));
    stage.patch(SYSTEM, "endpointslice", &slice_patch(Some(reader)));
    let service = service_host(SERVICE, SYSTEM);
    stage.await_led(&service, SteeredAnswer::To(reader));
    let looks = stage.looks(&reader_endpoint(CLUSTER));
    assert!(
        looks.iter().all(|led| *led == SteeredAnswer::Aurora),
        "{looks:?}"
    );
}

#[test]
fn a_name_follows_its_service_and_leads_to_aurora_when_nobody_leads_it() {
    let alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed::up("t-steered");
    let testbed = &own.testbed;
    let plane = orders_cluster(3);
    network::add_address(testbed.layout(), AUTHORITY).unwrap();
    let server = testbed
        .enter(|| {
            let options = DnsOptions { seed: Some(7) };
            dns::start_dns((AUTHORITY, 53).into(), plane.clone(), &options)
        })
        .unwrap()
        .unwrap();
    testbed.kubectl(&["create", "namespace", SYSTEM]).unwrap();
    let pod = &deploy_testapp(testbed, 1)[0];
    let reader = ("orders-3", plane.dns_zone().instances["orders-3"]);
    for distribution in Distribution::ALL {
        let stage = SteeredStage::start(testbed, distribution, true);
        alias_is_flipped(&stage, pod, reader);
        slice_leads_and_falls_back(&stage, pod, reader.1);
    }
    let stage = SteeredStage::start(testbed, Distribution::Eks, false);
    name_without_block_is_not_led(&stage, reader.1);
    coredns::stop_caches(testbed).unwrap();
    drop(server);
    drop(own);
    alone.assert_nothing_left("t-steered");
}
