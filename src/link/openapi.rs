//! The OpenAPI document, from one table of routes and the messages' own schemas.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::messages::{
    AdmitAnswer, AdmitRequest, AmisAnswer, CanaryRequest, ClaimsAnswer, DeclarationBody, DeclareAnswer, DeclareBody,
    DrainAnswer, ErrorBody, Events, HoldAnswer, HoldRequest, ReleaseRequest, ReportBody, Reported, StartRequest,
    StatusAnswer, VersionAnswer, WorkerDayAnswer,
};
use super::rebakes::{RebakeAnswer, RebakeList, RebakeOrdered, RolledBack};
use crate::control::{HealthView, NoticesView, RebakeAsk, RebakeView, WorkerView};
use crate::plan::day::DayView;

struct Route {
    method: &'static str,
    path: &'static str,
    doc: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<Value>,
    answer: Value,
}

const WAIT: (&str, &str) = ("wait", "Wait up to so many seconds (at most 60) for the request's answer.");

/// News of a rebake.
const NEWS: &[(&str, &str)] = &[
    ("after", "Only entries of its journal after this place."),
    ("wait", "Wait up to so many seconds (at most 60) for news."),
];

/// The OpenAPI 3.1 document of the interface.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    let routes = routes(&mut schemas).into_iter().chain(routes_of_canaries(&mut schemas));
    let routes = routes.chain(routes_of_masters(&mut schemas)).chain(routes_of_rebakes(&mut schemas));
    let routes = routes.chain(routes_of_the_day(&mut schemas));
    for route in routes.collect::<Vec<_>>() {
        let entry = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        entry[route.method] = operation(&route);
    }
    let error = schemas.subschema_for::<ErrorBody>();
    let definitions = schemas.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "latent controller",
            "version": crate::VERSION,
            "description": "HTTP and JSON over the controller's Unix socket, or TCP with a bearer token. Every call may be repeated.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": { "error": { "description": "Refused; the message says what to do.", "content": { "application/json": { "schema": error } } } },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

fn routes(schemas: &mut SchemaGenerator) -> Vec<Route> {
    let worker = of::<WorkerView>(schemas);
    let route = |method, path, doc, query, body, answer| Route { method, path, doc, query, body, answer };
    vec![
        route("get", "/v1/version", "Who answers.", &[], None, of::<VersionAnswer>(schemas)),
        route("get", "/v1/claims", "What the controller knows of instances.", &[], None, of::<ClaimsAnswer>(schemas)),
        route("get", "/v1/status", "Every worker and every account.", &[], None, of::<StatusAnswer>(schemas)),
        route("get", "/v1/workers/{worker}", "One worker.", &[WAIT], None, worker.clone()),
        route(
            "post",
            "/v1/workers/{worker}/start",
            "Want a worker. Durable when it returns.",
            &[],
            Some(of::<StartRequest>(schemas)),
            worker.clone(),
        ),
        route(
            "post",
            "/v1/workers/{worker}/release",
            "Want it no longer. Durable when it returns.",
            &[],
            Some(of::<ReleaseRequest>(schemas)),
            worker.clone(),
        ),
        route(
            "post",
            "/v1/workers/{worker}/admit",
            "Somebody connects as this worker: whether it is on the instance of the present attempt. Answers within 6 s.",
            &[],
            Some(of::<AdmitRequest>(schemas)),
            of::<AdmitAnswer>(schemas),
        ),
        route(
            "post",
            "/v1/workers/{worker}/drain",
            "Let it go when its build is done.",
            &[],
            None,
            of::<DrainAnswer>(schemas),
        ),
        route(
            "post",
            "/v1/workers/{worker}/hold",
            "Keep its instance for a while.",
            &[],
            Some(of::<HoldRequest>(schemas)),
            of::<HoldAnswer>(schemas),
        ),
        route("delete", "/v1/workers/{worker}/hold", "Keep it no longer.", &[], None, worker),
        route("get", "/v1/notices", "Who is told of what, and what came of it.", &[], None, of::<NoticesView>(schemas)),
        route(
            "get",
            "/v1/events",
            "Entries of the ledger, oldest first, at most 1,000.",
            &[("after", "Those after this place."), ("wait", "Wait up to so many seconds for one.")],
            None,
            of::<Events>(schemas),
        ),
    ]
}

/// What a rebake asks of a worker, and how its AMIs do.
fn routes_of_canaries(schemas: &mut SchemaGenerator) -> Vec<Route> {
    let worker = of::<WorkerView>(schemas);
    let route = |method, path, doc, body, answer| Route { method, path, doc, query: &[], body, answer };
    vec![
        route(
            "put",
            "/v1/workers/{worker}/canary",
            "Have the worker's next instance be a canary of an AMI. Durable when it returns.",
            Some(of::<CanaryRequest>(schemas)),
            worker.clone(),
        ),
        route(
            "delete",
            "/v1/workers/{worker}/canary/{rebake}",
            "Ask no longer for the canary of this rebake; what is left of it is taken away.",
            None,
            worker,
        ),
        route("get", "/v1/amis", "How launches from each AMI went.", None, of::<AmisAnswer>(schemas)),
    ]
}

/// The last day, and whether the controller does its work.
fn routes_of_the_day(schemas: &mut SchemaGenerator) -> Vec<Route> {
    let route = |path, doc, answer| Route { method: "get", path, doc, query: &[], body: None, answer };
    vec![
        route("/v1/day", "The last 24 hours: in which state each worker was when.", of::<DayView>(schemas)),
        route(
            "/v1/workers/{worker}/day",
            "One worker: what holds, its last 24 hours, its last entries.",
            of::<WorkerDayAnswer>(schemas),
        ),
        route(
            "/v1/health",
            "Whether the ledger can be written, and whether every account was listed not long ago.",
            of::<HealthView>(schemas),
        ),
        route("/readyz", "The same as /v1/health, with status 503 where it is not ready.", of::<HealthView>(schemas)),
    ]
}

/// Rebakes.
fn routes_of_rebakes(schemas: &mut SchemaGenerator) -> Vec<Route> {
    let route = |method, path, doc, query, body, answer| Route { method, path, doc, query, body, answer };
    vec![
        route("get", "/v1/rebakes", "All rebakes.", &[], None, of::<RebakeList>(schemas)),
        route(
            "post",
            "/v1/rebakes",
            "Begin a rebake, or tell what it would do. Durable when it returns; a second one of the same image is a conflict.",
            &[],
            Some(of::<RebakeAsk>(schemas)),
            of::<RebakeOrdered>(schemas),
        ),
        route("get", "/v1/rebakes/{rebake}", "One rebake.", NEWS, None, of::<RebakeAnswer>(schemas)),
        route("post", "/v1/rebakes/{rebake}/abort", "Take back all that it did.", &[], None, of::<RebakeView>(schemas)),
        route(
            "post",
            "/v1/images/{image}/rollback",
            "Make the manifest name its previous AMI again.",
            &[],
            None,
            of::<RolledBack>(schemas),
        ),
    ]
}

/// What a master says of its workers.
fn routes_of_masters(schemas: &mut SchemaGenerator) -> Vec<Route> {
    let route = |method, path, doc, body, answer| Route { method, path, doc, query: &[], body, answer };
    vec![
        route(
            "post",
            "/v1/masters/{master}/report",
            "Say everything a master knows of its workers.",
            Some(of::<ReportBody>(schemas)),
            of::<Reported>(schemas),
        ),
        route(
            "put",
            "/v1/masters/{master}/workers",
            "Declare all workers of a master that no file has; those not named any more are forgotten. Durable \
             when it returns.",
            Some(of::<DeclareBody>(schemas)),
            of::<DeclareAnswer>(schemas),
        ),
        route(
            "put",
            "/v1/masters/{master}/workers/{worker}",
            "Declare one worker beside the others. Durable when it returns.",
            Some(of::<DeclarationBody>(schemas)),
            of::<DeclareAnswer>(schemas),
        ),
    ]
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let query = route.query.iter().map(|(name, doc)| {
        json!({ "name": name, "in": "query", "description": doc, "schema": { "type": "integer", "minimum": 0 } })
    });
    let parameters: Vec<Value> = path.chain(query).collect();
    let mut operation = json!({
        "summary": route.doc,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": { "schema": route.answer } } },
            "default": { "$ref": "#/components/responses/error" },
        },
    });
    if let Some(body) = &route.body {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body } } });
    }
    operation
}
