#![allow(clippy::unwrap_used)]
use super::*;

const SIGNED: Option<&str> = Some(
    "AWS4-HMAC-SHA256 Credential=AKIDLAB/20260101/eu-west-1/rds/aws4_request, SignedHeaders=host, Signature=0",
);

fn read(form: &str) -> ApiRequest {
    ApiRequest::read(SIGNED, form.as_bytes()).unwrap()
}

#[test]
fn request_tells_its_caller() {
    let request = read("Action=DescribeDBClusters&Version=2014-10-31");
    assert!(request.is_home_region());
    assert_eq!(request.action, "DescribeDBClusters");
    let other = SIGNED.unwrap().replace("AKIDLAB", "ASIALAB210987654321");
    let request = ApiRequest::read(Some(&other), b"Action=A").unwrap();
    assert_eq!(request.account, "210987654321");
    assert!(!request.is_home_region());
    assert_eq!(
        ApiRequest::read(None, b"Action=A").unwrap_err().code,
        "MissingAuthenticationToken"
    );
    assert_eq!(
        ApiRequest::read(SIGNED, b"A=1").unwrap_err().code,
        "MissingAction"
    );
}

#[test]
fn filters_are_read_and_bounded() {
    let request = read(
        "Action=A&Filters.Filter.1.Name=engine&Filters.Filter.1.Values.Value.1=docdb\
             &Filters.Filter.1.Values.Value.2=neptune",
    );
    let filters = request.filters(&["engine"]).unwrap();
    assert_eq!(filters[0].values, ["docdb", "neptune"]);
    let error = request.filters(&["domain"]).unwrap_err();
    assert_eq!(error.message, "Unrecognized filter name: engine");

    let many = |count: usize, unique: bool| {
        (0..count).fold(
            String::from("Action=A&Filters.Filter.1.Name=db-cluster-id"),
            |form, i| {
                let name = if unique { i } else { i % 2 };
                format!("{form}&Filters.Filter.1.Values.Value.{i}=c{name}")
            },
        )
    };
    assert!(read(&many(100, true)).filters(&["db-cluster-id"]).is_ok());
    assert!(read(&many(200, false)).filters(&["db-cluster-id"]).is_ok());
    let error = read(&many(101, true))
        .filters(&["db-cluster-id"])
        .unwrap_err();
    assert_eq!(error.code, "InvalidParameterCombination");
}

#[test]
fn pages_are_20_to_100_rows_and_markers_read_back() {
    assert_eq!(read("Action=A").page().unwrap().size, 100);
    for bad in ["19", "101", "x", "-1"] {
        let error = read(&format!("Action=A&MaxRecords={bad}"))
            .page()
            .unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue", "{bad}");
    }
    let page = read(&format!(
        "Action=A&MaxRecords=20&Marker={}",
        encode_marker("c-1")
    ))
    .page()
    .unwrap();
    assert_eq!((page.size, page.after.as_deref()), (20, Some("c-1")));
    for bad in ["testbed-", "testbed-6", "testbed-zz", "1"] {
        assert!(
            read(&format!("Action=A&Marker={bad}")).page().is_err(),
            "{bad}"
        );
    }
}

#[test]
fn arn_is_another_way_to_name_something() {
    let name = |value: &str| parse_identifier(value, "cluster");
    assert_eq!(name("Orders").as_deref(), Some("orders"));
    let arn = "arn:aws:rds:eu-west-1:123456789012:cluster:Orders";
    assert_eq!(name(arn).as_deref(), Some("orders"));
    assert_eq!(name(&arn.replace("cluster", "db")), None);
    assert_eq!(name(&arn.replace("eu-west-1", "us-east-1")), None);
}
