//! SPDX 2.3 (spdx.github.io/spdx-spec/v2.3) as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Contents, Package};

pub const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const TREE: &str = "SPDXRef-Tree";

pub fn document(contents: &Contents) -> Value {
    let mut packages = vec![tree(contents)];
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", TREE)];
    for package in &contents.packages {
        let id = id(package);
        relations.push(relation(TREE, "CONTAINS", &id));
        packages.push(entry(package, &id));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": contents.title(),
        // Nobody looks there: it must be an address that is used for nothing else.
        "documentNamespace": format!("https://edge-ota.invalid/sbom/{}", contents.id()),
        "creationInfo": {
            "created": contents.created(),
            "creators": ["Tool: edge-build"],
        },
        "packages": packages,
        "relationships": relations,
        "hasExtractedLicensingInfos": extracted(contents),
    })
}

fn tree(contents: &Contents) -> Value {
    json!({
        "SPDXID": TREE,
        "name": contents.description.board,
        "versionInfo": contents.description.version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
    })
}

fn entry(package: &Package, id: &str) -> Value {
    let mut entry = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "supplier": supplier(package),
        "sourceInfo": format!("built from {}", package.source),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": package.licence_expression().unwrap_or_else(|| UNKNOWN.to_owned()),
        "copyrightText": UNKNOWN,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.url(),
        }],
    });
    if let (Some(homepage), Some(fields)) = (&package.homepage, entry.as_object_mut()) {
        fields.insert("homepage".to_owned(), json!(homepage));
    }
    entry
}

fn supplier(package: &Package) -> String {
    match package.maintainer.as_str() {
        "" => UNKNOWN.to_owned(),
        // SPDX wants the address in parentheses.
        name => format!("Organization: {}", name.replace('<', "(").replace('>', ")")),
    }
}

/// Letters, digits, `.` and `-`; a package may be there for two architectures.
fn id(package: &Package) -> String {
    let text = format!("{}-{}", package.name, package.arch);
    let allowed = |c: char| match c {
        '+' => "-plus".to_owned(),
        c if c.is_ascii_alphanumeric() || c == '.' => c.to_string(),
        _ => "-".to_owned(),
    };
    format!("SPDXRef-{}", text.chars().map(allowed).collect::<String>())
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

/// Licences that SPDX has no id of, and where their texts are.
fn extracted(contents: &Contents) -> Vec<Value> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &contents.packages {
        for licence in package
            .licences
            .iter()
            .filter(|l| l.starts_with("LicenseRef-"))
        {
            found.entry(licence).or_default().insert(&package.name);
        }
    }
    let entry = |(licence, packages): (&str, BTreeSet<&str>)| {
        let files: Vec<String> = packages
            .iter()
            .map(|name| format!("/usr/share/doc/{name}/copyright"))
            .collect();
        json!({"licenseId": licence, "extractedText": format!("See {}", files.join(", "))})
    };
    found.into_iter().map(entry).collect()
}
