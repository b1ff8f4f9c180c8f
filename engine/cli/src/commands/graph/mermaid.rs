use refit_engine::graph::split_output;

use super::flow::{Flow, What};

/// A Mermaid flow chart. Nodes are numbered: names may be words that Mermaid keeps for itself.
pub(super) fn draw(flow: &Flow) -> String {
    let id = |name: &str| {
        let place = flow.nodes.iter().position(|node| node.name == name);
        format!("n{}", place.unwrap_or_default())
    };
    let mut lines = vec!["flowchart LR".to_owned()];
    for node in &flow.nodes {
        let name = escaped(&node.name);
        lines.push(match &node.what {
            What::Source { uri } => format!("  {}[(\"{name}<br/><small>{}</small>\")]", id(&node.name), escaped(uri)),
            What::Stage { kind, .. } => {
                format!("  {}[\"{name}<br/><small>{}</small>\"]", id(&node.name), escaped(kind))
            }
        });
    }
    for edge in &flow.edges {
        lines.push(format!("  {} -->|\"{}\"| {}", id(&edge.from), escaped(&edge.label()), id(&edge.to)));
    }
    for (place, copied) in flow.outputs.iter().enumerate() {
        let (stage, port) = split_output(&copied.from).unwrap_or((&copied.from, ""));
        lines.push(format!("  o{place}>\"{}\"]", escaped(&copied.to)));
        lines.push(format!("  {} -.->|\"{}\"| o{place}", id(stage), escaped(port)));
    }
    lines.join("\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
