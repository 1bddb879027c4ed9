#![allow(clippy::unwrap_used, clippy::panic)]
use serde_json::{Value, json};

use super::*;
use crate::k8s::steering::testing::{ObjectServer, READER, key, names, service, slice, state_of};

const INSTANCE: &str = "orders-4.x.eu-west-1.rds.amazonaws.com";
const CLAIM: &str = "6f1c9a2b/1764460000-3 orders-4 2026-11-29T15:40:01Z";

fn to_instance(address: Option<Ipv4Addr>) -> NameLead {
    NameLead::Instance {
        claim: NarrowClaim::parse(CLAIM),
        host: INSTANCE.to_owned(),
        address,
    }
}

fn to_aurora(reader: Option<&str>) -> NameLead {
    NameLead::Aurora {
        reader: reader.map(str::to_owned),
    }
}

/// Leads the name of a server whose object was read just before.
async fn lead(server: &ObjectServer, lead: &NameLead) -> NameWrite {
    let names = names();
    let state = state_of(&server.object());
    let key = match &state {
        NameState::Service(_) => key(SteeringVia::Service),
        _ => key(SteeringVia::Slice),
    };
    names.record(&key, state);
    write_name(&server.client(), &names, &key, lead).await
}

fn notes(object: &Value) -> &Value {
    &object["metadata"]["annotations"]
}

fn narrowed_service() -> Value {
    let mut object = service(INSTANCE);
    object["metadata"]["annotations"] = json!({
        "team": "shop", annotations::NARROWED: CLAIM, annotations::WIDENS_TO: "Orders.Aurora.",
    });
    object
}

#[tokio::test]
async fn a_service_is_narrowed_with_its_claim_and_widened_to_what_it_was() {
    let server = ObjectServer::holding(service(READER));
    let before = server.object();
    assert_eq!(lead(&server, &to_instance(None)).await, NameWrite::Written);
    let narrowed = server.object();
    assert_eq!(narrowed["spec"]["externalName"], INSTANCE);
    assert_eq!(notes(&narrowed)[annotations::NARROWED], CLAIM);
    assert_eq!(notes(&narrowed)[annotations::WIDENS_TO], READER);
    assert_eq!(lead(&server, &to_aurora(None)).await, NameWrite::Written);
    let mut widened = server.object();
    widened["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(widened, before);
    assert_eq!(
        server.seen(),
        ["PATCH /api/v1/namespaces/shop/services/orders-ro?&fieldManager=dbbalance"; 2]
    );
}

#[tokio::test]
async fn a_slice_is_filled_with_one_address_and_emptied() {
    let server = ObjectServer::holding(slice(&[]));
    let before = server.object();
    let address = Some(Ipv4Addr::new(10, 0, 0, 4));
    assert_eq!(
        lead(&server, &to_instance(address)).await,
        NameWrite::Written
    );
    let narrowed = server.object();
    assert_eq!(
        narrowed["endpoints"],
        json!([{"addresses": ["10.0.0.4"], "conditions": {"ready": true}}])
    );
    assert_eq!(notes(&narrowed)[annotations::NARROWED], CLAIM);
    assert_eq!(notes(&narrowed)[annotations::WIDENS_TO], Value::Null);
    assert_eq!(lead(&server, &to_aurora(None)).await, NameWrite::Written);
    let widened = server.object();
    assert_eq!(widened["endpoints"], json!([]));
    assert_eq!(notes(&widened), &json!({}));
    assert_eq!(widened["metadata"]["labels"], before["metadata"]["labels"]);
}

#[tokio::test]
async fn a_slice_is_not_narrowed_without_an_address_nor_beside_another_slice() {
    let server = ObjectServer::holding(slice(&[]));
    let refused = lead(&server, &to_instance(None)).await;
    assert!(matches!(refused, NameWrite::Failed(_)), "{refused:?}");
    let mut other = slice(&[]);
    other["metadata"]["name"] = json!("orders-ro-x7k2p");
    server.list(vec![other]);
    let address = Some(Ipv4Addr::new(10, 0, 0, 4));
    assert_eq!(
        lead(&server, &to_instance(address)).await,
        NameWrite::LostRace
    );
    assert_eq!(server.object()["endpoints"], json!([]));
}

#[tokio::test]
async fn a_service_is_widened_to_the_topologys_endpoint_before_the_recorded_one() {
    for (reader, wanted) in [(Some(READER), READER), (None, "Orders.Aurora.")] {
        let server = ObjectServer::holding(narrowed_service());
        assert_eq!(lead(&server, &to_aurora(reader)).await, NameWrite::Written);
        assert_eq!(server.object()["spec"]["externalName"], wanted);
        assert_eq!(notes(&server.object()), &json!({"team": "shop"}));
    }
}

#[tokio::test]
async fn a_service_that_its_owner_has_led_elsewhere_meanwhile_only_loses_the_claim() {
    let mut object = narrowed_service();
    object["spec"]["externalName"] = json!("proxy.example.com");
    let server = ObjectServer::holding(object);
    assert_eq!(
        lead(&server, &to_aurora(Some(READER))).await,
        NameWrite::Written
    );
    assert_eq!(server.object()["spec"]["externalName"], "proxy.example.com");
    assert_eq!(notes(&server.object()), &json!({"team": "shop"}));
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_widened_and_without_a_known_endpoint_nothing_is_guessed() {
    let mut object = narrowed_service();
    notes_mut(&mut object)[annotations::NARROWED] = json!("garbled");
    let server = ObjectServer::holding(object.clone());
    assert_eq!(
        lead(&server, &to_aurora(Some(READER))).await,
        NameWrite::Written
    );
    assert_eq!(server.object()["spec"]["externalName"], READER);

    remove_note(&mut object, annotations::WIDENS_TO);
    let server = ObjectServer::holding(object);
    let failed = lead(&server, &to_aurora(None)).await;
    assert!(
        matches!(&failed, NameWrite::Failed(m) if m.contains("widens-to")),
        "{failed:?}"
    );
}

fn notes_mut(object: &mut Value) -> &mut Value {
    &mut object["metadata"]["annotations"]
}

fn remove_note(object: &mut Value, name: &str) {
    notes_mut(object).as_object_mut().unwrap().remove(name);
}

#[tokio::test]
async fn a_name_that_is_narrowed_anew_still_widens_to_what_it_was() {
    let server = ObjectServer::holding(narrowed_service());
    lead(&server, &to_instance(None)).await;
    assert_eq!(
        notes(&server.object())[annotations::WIDENS_TO],
        "Orders.Aurora."
    );
    // Left behind by a client that removed the claim alone.
    let mut object = narrowed_service();
    object["spec"]["externalName"] = json!(READER);
    remove_note(&mut object, annotations::NARROWED);
    let server = ObjectServer::holding(object);
    lead(&server, &to_instance(None)).await;
    assert_eq!(notes(&server.object())[annotations::WIDENS_TO], READER);
}

#[tokio::test]
async fn a_write_on_an_object_that_has_changed_is_a_lost_race_until_it_is_read_again() {
    let server = ObjectServer::holding(service(READER));
    let names = names();
    let key = key(SteeringVia::Service);
    names.record(&key, state_of(&server.object()));
    server.put(service(READER));
    let client = server.client();
    let lead = to_instance(None);
    assert_eq!(
        write_name(&client, &names, &key, &lead).await,
        NameWrite::LostRace
    );
    refresh_name(&client, &names, &key).await.unwrap();
    assert_eq!(
        write_name(&client, &names, &key, &lead).await,
        NameWrite::Written
    );
    server.remove();
    assert_eq!(
        write_name(&client, &names, &key, &lead).await,
        NameWrite::LostRace
    );
}

#[tokio::test]
async fn a_refusal_names_the_object_and_the_charts_value() {
    let server = ObjectServer::holding(service(READER));
    server.refuse(Some(403));
    let NameWrite::Failed(message) = lead(&server, &to_instance(None)).await else {
        panic!("not refused");
    };
    assert_eq!(
        message,
        "patching Service shop/orders-ro: refused with 403; list it in the chart's value steering"
    );
}
