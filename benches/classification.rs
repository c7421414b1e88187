//! What it costs to tell whether a text is a plain read: seen before, seen before with other constants, seen before a
//! change of the catalog, and new.
//!
//! Each iteration is a hundred texts, so that the elements a second are texts. Run with
//! `cargo bench --bench classification`.

use std::hint::black_box;

use bellwether::sql::facts::{Function, Kind, Relation};
use bellwether::sql::{Catalog, Classifier, Facts, Lists, SearchPath};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const TEXTS: usize = 100;

/// Makes the text of this number, with this constant in it.
type MakeText = fn(usize, usize) -> String;

const KINDS: [(&str, MakeText); 4] = [
    ("number", |n, constant| format!("SELECT {constant} AS a{n}")),
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

fn classification(c: &mut Criterion) {
    let mut group = c.benchmark_group("classification");
    group.throughput(Throughput::Elements(TEXTS as u64));
    let known = catalog(0);
    for (kind, make) in KINDS {
        let texts = |constant: usize| (0..TEXTS).map(|n| make(n, constant + n)).collect::<Vec<_>>();
        let first = texts(0);
        group.bench_function(BenchmarkId::new("known", kind), |b| {
            let mut classifier = Classifier::default();
            pass(&mut classifier, &first, &known);
            b.iter(|| pass(&mut classifier, &first, &known));
        });
        group.bench_function(BenchmarkId::new("other constants", kind), |b| {
            let mut classifier = Classifier::default();
            pass(&mut classifier, &first, &known);
            let mut constant = 0;
            let others = || {
                constant += TEXTS;
                texts(constant)
            };
            b.iter_batched_ref(others, |others| pass(&mut classifier, others, &known), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("judged again", kind), |b| {
            let mut classifier = Classifier::default();
            let mut generation = 0;
            let changed = || {
                generation += 1;
                catalog(generation)
            };
            b.iter_batched_ref(
                changed,
                |catalog| pass(&mut classifier, &first, catalog),
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("new", kind), |b| {
            b.iter_batched_ref(
                Classifier::default,
                |classifier| pass(classifier, &first, &known),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Classifies and judges every text once.
fn pass(classifier: &mut Classifier, texts: &[String], catalog: &Catalog) {
    let path = SearchPath::of_server();
    for text in texts {
        let class = classifier.classify(text.as_bytes(), true);
        assert!(black_box(class.judge(Some(catalog), &path)).is_ok());
    }
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

criterion_group!(benches, classification);
criterion_main!(benches);
