//! Service Quotas: how many virtual CPUs an account may run. Its protocol is JSON (`awsJson1_1`).

use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth;
use super::calls::Noted;
use super::door::{Answer, Lost, Shared, dated, request_id, typed, with_id};
use super::query::Node;
use crate::sim::error::ApiError;
use crate::sim::world::{Request, Served, SiteId};

const JSON: &str = "application/x-amz-json-1.1";
const TARGET: &str = "ServiceQuotasV20190624.";
const ACTION: &str = "GetServiceQuota";

/// The quotas of running instances: code and name.
const QUOTAS: [(&str, &str); 12] = [
    ("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    ("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    ("L-74FC7D96", "Running On-Demand F instances"),
    ("L-88CF9481", "All F Spot Instance Requests"),
    ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("L-1945791B", "Running On-Demand Inf instances"),
    ("L-B5D1601B", "All Inf Spot Instance Requests"),
    ("L-417A185B", "Running On-Demand P instances"),
    ("L-7212CCBC", "All P Spot Instance Requests"),
    ("L-7295265B", "Running On-Demand X instances"),
    ("L-E3A00192", "All X Spot Instance Requests"),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    service_code: String,
    quota_code: String,
}

/// Whether a request is signed for this service.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    auth::service(headers, &Node::default()) == "servicequotas"
}

/// One call.
pub(super) async fn answer(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Answer, Lost> {
    let (place, asked) = match known(shared, headers, body) {
        Ok(known) => known,
        Err(error) => return Ok(refusal(shared, &error)),
    };
    let there = shared.model().world.way_there(&place);
    shared.wait(there).await;
    let done = shared.delivered(serve(shared, &place, &asked)).await?;
    let noted = Noted::of(&place, ACTION, &done);
    Ok(noted.on(match done {
        Ok(body) => success(shared, &body),
        Err(error) => refusal(shared, &error),
    }))
}

fn known(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<(SiteId, Asked), ApiError> {
    let model = shared.model();
    let times = (shared.wall(&model), shared.now(&model));
    let caller = auth::caller(headers, &Node::default(), &model.sessions, times)?;
    let target = headers.get("x-amz-target").and_then(|text| text.to_str().ok()).unwrap_or_default();
    if target.strip_prefix(TARGET) != Some(ACTION) {
        let message = format!("{target} is not known here: {ACTION} is");
        return Err(ApiError::client("UnknownOperationException", message));
    }
    let asked =
        serde_json::from_slice(body).map_err(|error| ApiError::client("SerializationException", error.to_string()))?;
    Ok((SiteId::new(&caller.account, &caller.region), asked))
}

fn serve(shared: &Shared, place: &SiteId, asked: &Asked) -> Served<Value> {
    let mut model = shared.model();
    let now = shared.now(&model);
    let model = &mut *model;
    let request = Request { place, action: ACTION, paged: false, resources: 0, subject: &asked.quota_code, by: "" };
    let permissions = &model.permissions;
    model.world.serve(&request, now, |site, _| {
        if !permissions.allows_action(&place.account, ACTION) {
            let message = "User is not authorized to perform: servicequotas:GetServiceQuota";
            return Err(ApiError::client("AccessDeniedException", message));
        }
        let known = QUOTAS.iter().find(|(code, _)| asked.service_code == "ec2" && *code == asked.quota_code);
        let Some((code, name)) = known else {
            let message = "The request failed because the specified service or quota does not exist.";
            return Err(ApiError::client("NoSuchResourceException", message));
        };
        Ok(json!({ "Quota": {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": format!("arn:aws:servicequotas:{}:{}:ec2/{code}", place.region, place.account),
            "QuotaCode": code,
            "QuotaName": name,
            "Value": f64::from(site.quota_vcpus),
            "Unit": "None",
            "Adjustable": true,
            "GlobalQuota": false,
        }}))
    })
}

/// An answer in JSON.
pub(super) fn success(shared: &Shared, body: &Value) -> Answer {
    let id = request_id(shared);
    dated(shared, with_id(typed(StatusCode::OK, JSON, body.to_string()), &id))
}

/// A refusal in JSON.
pub(super) fn refusal(shared: &Shared, error: &ApiError) -> Answer {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "__type": error.code, "Message": error.message });
    let id = request_id(shared);
    let mut answer = dated(shared, with_id(typed(status, JSON, body.to_string()), &id));
    if let Ok(code) = HeaderValue::from_str(&error.code) {
        answer.headers_mut().insert("x-amzn-errortype", code);
    }
    answer
}
