use super::*;

const PLAIN: Canvas = Canvas {
    colour: false,
    width: WIDTH,
};

fn snapshot() -> DemoSnapshot {
    let instance = |name: &str, writer, connections| InstanceView {
        name: name.into(),
        writer,
        connections,
        status: "available".into(),
        served: true,
    };
    let mut snapshot = DemoSnapshot {
        instances: vec![
            instance("orders-1", Some(true), 0),
            instance("orders-2", Some(false), 53),
            instance("orders-3", Some(false), 67),
        ],
        endpoint: Some("orders-1".into()),
        ..DemoSnapshot::default()
    };
    snapshot.policy.mode = "Observe".into();
    snapshot
}

#[test]
fn a_bar_is_as_long_as_its_part_and_never_longer_than_its_place() {
    assert_eq!(render_bar(0, 10).trim_end(), "");
    assert_eq!(render_bar(10, 10), "█".repeat(BAR));
    assert_eq!(render_bar(20, 10).chars().count(), BAR);
    assert_eq!(render_bar(5, 10).trim_end(), "█".repeat(BAR / 2));
    assert_eq!(render_bar(1, 0).trim_end(), "");
}

#[test]
fn the_picture_keeps_its_height_whatever_the_policy_says() {
    let mut snapshot = snapshot();
    let height = render_lines(&snapshot, Duration::ZERO, PLAIN).len();
    snapshot.policy.shares = "many words ".repeat(60);
    assert_eq!(render_lines(&snapshot, Duration::ZERO, PLAIN).len(), height);
}

#[test]
fn without_colours_there_is_no_escape_in_it() {
    let text = render_lines(&snapshot(), Duration::ZERO, PLAIN).join("\n");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert!(text.contains("orders-3  reader"), "{text}");
    assert!(text.contains("56 %"), "{text}");
}

#[test]
fn a_connection_of_a_reader_pool_to_the_writer_is_called_wrong() {
    let mut snapshot = snapshot();
    snapshot.instances[0].connections = 3;
    let text = render_lines(&snapshot, Duration::ZERO, PLAIN).join("\n");
    assert!(text.contains("wrong role"), "{text}");
}

#[test]
fn the_seconds_alone_make_no_news() {
    assert_eq!(render_key(&snapshot()), render_key(&snapshot()));
    let mut other = snapshot();
    other.instances[1].connections = 52;
    assert_ne!(render_key(&snapshot()), render_key(&other));
}

#[test]
fn thousands_are_apart() {
    assert_eq!(group_thousands(1_234_567), "1,234,567");
    assert_eq!(group_thousands(12), "12");
}
