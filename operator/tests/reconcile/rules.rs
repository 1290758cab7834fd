//! The rules of access in the chart, as an API server reads them.

use std::sync::LazyLock;

use k8s_openapi::api::rbac::v1::PolicyRule;
use relay_operator::requests::Asked;

const CHART: &str = include_str!("../../../charts/relay-operator/templates/rbac.yaml");

/// All rules of all roles: whose they are is the chart's matter, and tested where the operator runs under it.
pub static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| {
    let mut rules = Vec::new();
    for document in CHART.split("\n---\n") {
        // Of the template, the rules are plain YAML but for names in quotes.
        if let Some((_, text)) = document.split_once("\nrules:\n") {
            rules.extend(serde_yaml_ng::from_str::<Vec<PolicyRule>>(text).unwrap());
        }
    }
    rules
});

/// Whether the rules allow what is asked for. Which resources there are, an API server tells everybody that it knows.
pub fn allow(asked: &Asked) -> bool {
    asked.resource.is_empty() || RULES.iter().any(|rule| covers(rule, asked))
}

/// Whether this rule does.
pub fn covers(rule: &PolicyRule, asked: &Asked) -> bool {
    let has = |list: &Option<Vec<String>>, value: &str| list.iter().flatten().any(|one| one == value);
    has(&rule.api_groups, &asked.group)
        && has(&rule.resources, &asked.resource)
        && rule.verbs.iter().any(|verb| verb == asked.verb)
}

#[test]
fn the_rules_name_what_is_needed_and_no_more() {
    assert!(RULES.len() > 10, "they are read: {}", RULES.len());
    for rule in RULES.iter() {
        let names = [&rule.api_groups, &rule.resources].into_iter().flatten().flatten().chain(&rule.verbs);
        assert!(names.into_iter().all(|name| name != "*"), "{rule:?}");
    }
    let asked = |verb, resource: &str| Asked {
        verb,
        group: String::new(),
        resource: resource.into(),
        namespace: None,
        name: None,
    };
    for (verb, resource) in [("list", "secrets"), ("watch", "secrets"), ("update", "pods"), ("create", "pods/exec")] {
        assert!(!allow(&asked(verb, resource)), "{verb} {resource}");
    }
}
