//! CycloneDX 1.5 (cyclonedx.org/docs/1.5/json) as JSON.

use serde_json::{Value, json};

use super::{Contents, Package};
use edge_ota::media::layout;

pub fn document(contents: &Contents) -> Value {
    let components: Vec<Value> = contents.packages.iter().map(component).collect();
    let serial = layout::uuid(&contents.id(), "sbom").to_lowercase();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{serial}"),
        "version": 1,
        "metadata": {
            "timestamp": contents.created(),
            "tools": {"components": [{"type": "application", "name": "edge-build"}]},
            "component": {
                "type": "operating-system",
                "bom-ref": "tree",
                "name": contents.description.board,
                "version": contents.description.version,
            },
        },
        "components": components,
    })
}

fn component(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": package.url(),
        "name": package.name,
        "version": package.version,
        "purl": package.url(),
        "properties": [{"name": "edge-ota:source", "value": package.source}],
    });
    let Some(fields) = component.as_object_mut() else {
        return component;
    };
    if let Some(expression) = package.licence_expression() {
        fields.insert("licenses".to_owned(), json!([{"expression": expression}]));
    }
    if !package.maintainer.is_empty() {
        fields.insert("supplier".to_owned(), json!({"name": package.maintainer}));
    }
    if let Some(homepage) = &package.homepage {
        let website = json!([{"type": "website", "url": homepage}]);
        fields.insert("externalReferences".to_owned(), website);
    }
    component
}
