//! PromQL as it stands in the dashboard: Grafana's variables, and the metrics it names.

/// Puts in what Grafana would.
pub fn filled_in(expression: &str) -> String {
    let filled =
        expression.replace("$cluster", "main").replace("$__rate_interval", "10s").replace("$__range", "2m");
    assert!(!filled.contains('$'), "{filled}: a variable nobody fills in");
    filled
}

/// Returns the names in `expression` that look like ours or the process's.
pub fn metrics(expression: &str) -> Vec<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("bellwether_") || word.starts_with("process_")).collect()
}

/// Returns what `expression` reads of our metrics: each name with the labels it asks for.
pub fn selectors(expression: &str) -> Vec<&str> {
    let begins = metrics(expression).into_iter().map(|name| {
        let start = name.as_ptr() as usize - expression.as_ptr() as usize;
        (start, start + name.len())
    });
    let whole = |(start, end): (usize, usize)| match expression[end..].strip_prefix('{') {
        Some(labels) => &expression[start..end + labels.find('}').expect("a brace that closes") + 2],
        None => &expression[start..end],
    };
    begins.map(whole).collect()
}

#[test]
fn names_are_found() {
    let expression =
        "sum by (le) (rate(bellwether_a_bucket{cluster=\"$cluster\"}[$__rate_interval])) / process_b";
    assert_eq!(metrics(expression), ["bellwether_a_bucket", "process_b"]);
    assert_eq!(selectors(expression), ["bellwether_a_bucket{cluster=\"$cluster\"}", "process_b"]);
    assert_eq!(
        filled_in(expression),
        "sum by (le) (rate(bellwether_a_bucket{cluster=\"main\"}[10s])) / process_b"
    );
}
