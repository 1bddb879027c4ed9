#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{pod, target};
use dbbalance_api::spec::Method;

fn refused(name: &str) -> PodFacts {
    PodFacts {
        method_refusal: Some("the pod has 2 containers (app, proxy), and none is named".to_owned()),
        ..pod(name, 0)
    }
}

#[test]
fn a_method_that_no_pod_s_spec_allows_is_said_before_a_failover() {
    let spec = target("web", Method::Evict);
    let text = describe_refused_method(&spec, &[refused("web-1"), refused("web-2")]).unwrap();
    assert_eq!(
        text,
        "spec.targets[web].recycle: Evict recycles none of its pods: the pod has 2 containers (app, proxy), and none \
         is named"
    );
}

#[test]
fn a_method_that_works_on_one_template_is_not_refused() {
    let spec = target("web", Method::Evict);
    let during_a_rollout = [refused("web-1"), pod("web-2", 0)];
    assert_eq!(describe_refused_method(&spec, &during_a_rollout), None);
    let leaving = PodFacts {
        terminating: true,
        ..refused("web-1")
    };
    assert_eq!(describe_refused_method(&spec, &[leaving]), None);
    assert_eq!(describe_refused_method(&spec, &[]), None);
}
