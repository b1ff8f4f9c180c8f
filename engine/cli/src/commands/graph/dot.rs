use refit_engine::graph::split_output;

use super::flow::{Flow, What};

/// A digraph for Graphviz.
pub(super) fn draw(flow: &Flow) -> String {
    let mut lines = vec![
        format!("digraph {} {{", quoted(&flow.pipeline)),
        "  rankdir=LR; node [shape=box, style=rounded, fontname=\"sans-serif\"]; edge [fontname=\"sans-serif\", fontsize=10];"
            .to_owned(),
    ];
    for node in &flow.nodes {
        let (label, shape) = match &node.what {
            What::Source { uri } => (format!("{}\n{uri}", node.name), ", shape=cylinder, style=solid"),
            What::Stage { kind, .. } => (format!("{}\n{kind}", node.name), ""),
        };
        lines.push(format!("  {} [label={}{shape}];", quoted(&node.name), quoted(&label)));
    }
    for edge in &flow.edges {
        lines.push(format!("  {} -> {} [label={}];", quoted(&edge.from), quoted(&edge.to), quoted(&edge.label())));
    }
    for copied in &flow.outputs {
        let (stage, port) = split_output(&copied.from).unwrap_or((&copied.from, ""));
        lines.push(format!("  {} [shape=note, style=solid];", quoted(&copied.to)));
        lines.push(format!("  {} -> {} [label={}, style=dashed];", quoted(stage), quoted(&copied.to), quoted(port)));
    }
    lines.push("}".to_owned());
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
