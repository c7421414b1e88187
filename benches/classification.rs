//! What it costs to tell whether a text is a plain read: seen before, seen before a change of the catalog, seen before with
//! other constants, and new.
//!
//! Prints nanoseconds for each text, the best of several rounds. Run with `cargo bench --bench classification`.

use std::hint::black_box;
use std::time::Instant;

use bellwether::sql::facts::{Function, Kind, Relation};
use bellwether::sql::{Catalog, Classifier, Facts, Lists, SearchPath};

const ROUNDS: usize = 200;
const TEXTS: usize = 100;

/// Makes the text of this number, with this constant in it.
type MakeText = fn(usize, usize) -> String;

fn main() {
    let texts: [(&str, MakeText); 4] = [
        ("simple", |n, constant| format!("SELECT {constant} AS a{n}")),
        ("pgbench", |n, constant| format!("SELECT abalance FROM t{} WHERE aid = {constant};", n % 1000)),
        ("join", |n, constant| {
            format!(
                "SELECT o.id, c.name, sum(l.price * l.amount) AS total FROM t{} o JOIN t1 c ON c.id = o.customer \
                 JOIN t2 l ON l.order_id = o.id WHERE o.placed_at > now() - interval '{constant} days' AND c.active \
                 GROUP BY o.id, c.name HAVING count(*) > 1 ORDER BY total DESC LIMIT 10",
                n % 1000
            )
        }),
        ("function", |n, constant| format!("SELECT f{}(id, {constant}) FROM t3", n % 1000)),
    ];
    println!(
        "{:<12}{:>12}{:>16}{:>18}{:>12}",
        "ns a text", "known", "judged again", "other constants", "new"
    );
    for (name, text) in texts {
        let texts: Vec<String> = (0..TEXTS).map(|n| text(n, n)).collect();
        let others: Vec<String> = (0..TEXTS).map(|n| text(n, n + TEXTS)).collect();
        let [mut known, mut again, mut other, mut new] = [f64::MAX; 4];
        for round in 0..ROUNDS {
            let mut classifier = Classifier::default();
            let (first, second) = (catalog(2 * round as u32), catalog(2 * round as u32 + 1));
            new = new.min(pass(&mut classifier, &texts, &first));
            known = known.min(pass(&mut classifier, &texts, &first));
            other = other.min(pass(&mut classifier, &others, &first));
            again = again.min(pass(&mut classifier, &texts, &second));
        }
        println!("{name:<12}{known:>12.0}{again:>16.0}{other:>18.0}{new:>12.0}");
    }
}

/// Classifies and judges every text once; returns nanoseconds a text.
fn pass(classifier: &mut Classifier, texts: &[String], catalog: &Catalog) -> f64 {
    let path = SearchPath::of_server();
    let began = Instant::now();
    for text in texts {
        let class = classifier.classify(text.as_bytes(), true);
        assert!(black_box(class.judge(Some(catalog), &path)).is_ok());
    }
    began.elapsed().as_nanos() as f64 / texts.len() as f64
}

/// A thousand tables and a thousand functions.
fn catalog(generation: u32) -> Catalog {
    let mut facts = Facts { default_paths: Some(vec!["public".into()]), ..Facts::default() };
    for n in 0..1000u32 {
        facts.relations.push(Relation {
            oid: n,
            schema: "public".into(),
            name: format!("t{n}").into(),
            kind: Kind::Ordinary,
        });
        facts.functions.push(Function {
            oid: n,
            schema: "public".into(),
            name: format!("f{n}").into(),
            least_arguments: 2,
            most_arguments: 2,
            volatile: false,
        });
    }
    Catalog::new(generation, facts, Lists::default())
}
