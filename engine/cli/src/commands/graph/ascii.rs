use renderdag::{Ancestor, GraphRowRenderer, Renderer};

use super::flow::{Flow, What};

/// One line a node with its inputs, and rails from each to whatever reads it.
pub(super) fn draw(flow: &Flow, paint: impl Fn(&str, &str) -> String) -> String {
    let mut renderer = GraphRowRenderer::new().output().with_min_row_height(0).build_box_drawing();
    let mut drawn = String::new();
    for node in &flow.nodes {
        // The renderer draws towards ancestors; here the rails lead down to who reads the result.
        let mut readers: Vec<&str> = Vec::new();
        for edge in flow.edges.iter().filter(|edge| edge.from == node.name) {
            if !readers.contains(&edge.to.as_str()) {
                readers.push(&edge.to);
            }
        }
        let readers = readers.into_iter().map(|reader| Ancestor::Parent(reader.to_owned())).collect();
        let (glyph, message) = match &node.what {
            What::Source { uri } => ("○", format!("{}  {}", paint(&node.name, "36"), paint(uri, "2"))),
            What::Stage { kind, .. } => {
                let named = if *kind == node.name { String::new() } else { format!("  {}", paint(kind, "2")) };
                let inputs = flow.edges.iter().filter(|edge| edge.to == node.name);
                let inputs: Vec<String> = inputs
                    .map(|edge| {
                        let origin = edge.origin();
                        if origin == edge.input { origin } else { format!("{} ← {origin}", edge.input) }
                    })
                    .collect();
                let copied = flow
                    .outputs
                    .iter()
                    .filter(|copied| copied.from.split_once('.').is_some_and(|(stage, _)| stage == node.name));
                let copied: Vec<String> = copied.map(|copied| format!("  ⇒ {}", copied.to)).collect();
                (
                    "●",
                    format!(
                        "{}{named}  {}{}",
                        paint(&node.name, "1"),
                        inputs.join(", "),
                        paint(&copied.concat(), "32")
                    ),
                )
            }
        };
        drawn.push_str(&renderer.next_row(node.name.clone(), readers, glyph.into(), message));
    }
    drawn.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
