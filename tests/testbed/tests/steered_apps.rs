//! Apps with real pools are pointed to a reader name that a Service leads: when their pools are renewed, every connection
//! opens on the reader that the name leads to, and no query fails. No operator is there: the objects are patched by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use dbbalance_testbed::aurora::coredns;
use dbbalance_testbed::aurora::corefile::Distribution;
use dbbalance_testbed::aurora::inventory::reader_endpoint;
use dbbalance_testbed::aurora::steered_name::{
    alias_patch, alias_service, empty_slice, headless_service, service_host, slice_patch,
};
use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::image;
use dbbalance_testbed::image::app::AppImage;
use support::app_pod::{AppPod, READERS};
use support::aurora::AuroraFixture;
use support::steered::{APP, CLUSTER, SERVICE, SYSTEM, SteeredAnswer, SteeredStage};
use support::wait_eventually;

/// Narrows both names to an instance, and waits until every cache leads there.
fn narrow(stage: &SteeredStage<'_>, instance: &str, address: Ipv4Addr) {
    stage.patch(APP, "service", &alias_patch(CLUSTER, Some(instance)));
    stage.patch(SYSTEM, "endpointslice", &slice_patch(Some(address)));
    for name in [service_host(SERVICE, APP), reader_endpoint(CLUSTER)] {
        stage.await_led(&name, SteeredAnswer::To(address));
    }
}

/// Renews the pool, and waits until it has all of its connections anew, at this address.
fn renews_at(pod: &AppPod<'_>, address: Ipv4Addr, renew: impl FnOnce()) {
    let old = pod.connections();
    renew();
    let address = address.to_string();
    wait_eventually("a pool at the reader that its name leads to", || {
        let now = pod.connections();
        now.len() == READERS && now.is_disjoint(&old) && now.iter().all(|(_, at)| *at == address)
    });
    assert_eq!(pod.number("reader", "failed"), 0, "{:?}", pod.log(0));
}

#[test]
fn renewed_pools_open_where_the_name_leads() {
    let aurora = AuroraFixture::up(CLUSTER, 2);
    let testbed = aurora.testbed();
    testbed.kubectl(&["create", "namespace", SYSTEM]).unwrap();
    let stage = SteeredStage::start(testbed, Distribution::Eks, true);
    stage.create(APP, &alias_service(SERVICE, CLUSTER));
    stage.create(SYSTEM, &headless_service(SERVICE));
    stage.create(SYSTEM, &empty_slice(SERVICE));
    let apps: Vec<(String, AppImage)> = image::app::list_apps()
        .unwrap()
        .into_iter()
        .map(|name| {
            let built = image::build_app_image(&ToolCache::locate().unwrap(), &name).unwrap();
            testbed.load_image(&built.archive).unwrap();
            let app = AppImage::named(&name).unwrap();
            (name, app)
        })
        .collect();
    let endpoint = reader_endpoint(CLUSTER);
    let mut pods = Vec::new();
    for (name, app) in &apps {
        for (way, host) in [("service", SERVICE), ("slice", &endpoint)] {
            let settings = [
                ("DB_READER_HOST", host),
                ("WRITER_POOL", "off"),
                ("JVM_DNS_TTL", "0"),
            ];
            pods.push((
                AppPod::run(testbed, app, &format!("{name}-{way}"), &settings),
                app,
            ));
        }
    }
    // In the steady state both names lead to Aurora's readers.
    let readers: BTreeSet<String> = [2, 3]
        .map(|number| aurora.instance(number).address.to_string())
        .into();
    for (pod, _) in &pods {
        let connections = pod.connections();
        assert!(
            connections.iter().all(|(_, at)| readers.contains(at)),
            "{connections:?}"
        );
    }
    let reader = aurora.instance(3);
    narrow(&stage, &reader.name, reader.address);
    for (pod, app) in &pods {
        renews_at(pod, reader.address, || pod.renew_by_signal(app));
    }
    let reader = aurora.instance(2);
    narrow(&stage, &reader.name, reader.address);
    for (pod, app) in &pods {
        renews_at(pod, reader.address, || pod.renew_by_http(app));
    }
    stage.patch(APP, "service", &alias_patch(CLUSTER, None));
    stage.patch(SYSTEM, "endpointslice", &slice_patch(None));
    for name in [service_host(SERVICE, APP), endpoint] {
        stage.await_led(&name, SteeredAnswer::Aurora);
    }
    coredns::stop_caches(testbed).unwrap();
}
