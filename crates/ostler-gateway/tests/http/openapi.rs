//! The description of all paths: complete, and so that the answers of all tests fit it.

use std::{collections::BTreeSet, sync::OnceLock};

use serde_json::Value;

use crate::{client::Answer, server::Server};

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_str(ostler_gateway::openapi()).unwrap())
}

/// Checks an answer against the description of its path. What is not a path of the description is not checked.
#[track_caller]
pub(crate) fn check(method: &str, target: &str, answer: &Answer) {
    let path = target.split('?').next().unwrap();
    let paths = document()["paths"].as_object().unwrap();
    let Some((template, item)) = paths.iter().find(|(template, _)| is_of(template, path)) else { return };
    let Some(operation) = item.get(method.to_ascii_lowercase()) else { return };
    let responses = &operation["responses"];
    let status = answer.status.to_string();
    let described = responses.get(status).unwrap_or(&responses["default"]);
    let place = format!("{method} {template} {}", answer.status);
    assert!(described["description"].is_string(), "{place} is not described");
    let Some(media) = answer.header("content-type").map(|it| it.split(';').next().unwrap()) else {
        assert!(described["content"].is_null() && answer.body.is_empty(), "{place} has no media type");
        return;
    };
    let content = &described["content"][media];
    assert!(content.is_object(), "{place} is described without `{media}`: {described}");
    if media.ends_with("json") {
        fits(&content["schema"], &answer.json()).unwrap_or_else(|why| panic!("{place}: {why}"));
    }
}

fn is_of(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(own, it)| *own == it || own.starts_with('{'))
}

/// Whether a value is as a schema says: its type, its members, and no other ones.
fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        return fits(&document()["components"]["schemas"][name], value);
    }
    if let Some(several) = schema["oneOf"].as_array() {
        let fitting = several.iter().filter(|one| fits(one, value).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{fitting} of {several:?} fit {value}")) };
    }
    let types: Vec<&str> = match (schema["type"].as_str(), schema["type"].as_array()) {
        (Some(one), _) => vec![one],
        (None, Some(several)) => several.iter().map(|it| it.as_str().unwrap()).collect(),
        (None, None) => return Err(format!("a schema without a type: {schema}")),
    };
    let is = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _null => value.is_null(),
    };
    if !types.iter().any(is) {
        return Err(format!("{value} is not {types:?}"));
    }
    for item in value.as_array().into_iter().flatten() {
        fits(&schema["items"], item)?;
    }
    let (Some(members), Some(known)) = (value.as_object(), schema["properties"].as_object()) else {
        return Ok(());
    };
    for (name, member) in members {
        let known = known.get(name).ok_or_else(|| format!("`{name}` is not described"))?;
        fits(known, member).map_err(|why| format!("`{name}`: {why}"))?;
    }
    let required = schema["required"].as_array().into_iter().flatten();
    match required.filter_map(Value::as_str).find(|name| !members.contains_key(*name)) {
        Some(name) => Err(format!("`{name}` is missing in {value}")),
        None => Ok(()),
    }
}

#[test]
fn every_path_and_method_is_described_and_no_other_one() {
    let source = include_str!("../../src/rest/mod.rs");
    let mut nested = "";
    let mut routes = BTreeSet::new();
    for line in source.lines() {
        if let Some(name) =
            line.trim().strip_prefix("let ").and_then(|rest| rest.strip_suffix(" = Router::new()"))
        {
            nested = if name == "executions" { "/v1/executions" } else { "/v1/sessions" };
        } else if line.trim() == "Router::new()" {
            nested = "";
        }
        let Some((path, methods)) =
            line.trim().strip_prefix(".route(\"").and_then(|rest| rest.split_once("\", "))
        else {
            continue;
        };
        let path = format!("{nested}{}", if path == "/" { "" } else { path });
        for method in ["get", "post", "delete", "put"] {
            if methods.contains(&format!("{method}(")) {
                routes.insert((path.clone(), method.to_owned()));
            }
        }
    }
    let paths = document()["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert!(routes.len() > 25, "{routes:?}");
    assert_eq!(routes, described);
}

#[test]
fn the_description_is_served_and_names_what_it_uses() {
    let server = Server::start();
    let served = server.get("/openapi.json").expect(200).json();
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(&served, document());
    let text = ostler_gateway::openapi();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(served["components"]["schemas"][name].is_object(), "{name} is not described");
    }
    let mut ids = BTreeSet::new();
    for operation in
        served["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{operation}");
        assert!(operation["responses"]["default"].is_object(), "{operation}");
        assert!(!operation["summary"].as_str().unwrap().contains("/v1/"), "{operation}");
    }
}
