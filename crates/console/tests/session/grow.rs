//! `grow`: further RAIDs of a LUN.

use super::Bench;

#[test]
fn luns_grow_by_further_raids() {
    let mut bench = Bench::with_luns();
    bench.silent("grow -y 0 raid0 1.8-9");
    bench.silent("grow -y -k 128 0 raid6 1.10-12 missing");
    let list = " 0 20003.934GB online
   0.0   4000.786GB raid1 normal
     0.0.0  normal     4000.787GB 1.0
     0.0.1  normal     4000.787GB 1.1
   0.1   8001.573GB raid0 normal
     0.1.0  normal     4000.787GB 1.8
     0.1.1  normal     4000.787GB 1.9
   0.2   8001.573GB raid6 degraded
     0.2.0  normal     4000.787GB 1.10
     0.2.1  normal     4000.787GB 1.11
     0.2.2  normal     4000.787GB 1.12
     0.2.3  missing       0.000GB missing
";
    assert_eq!(bench.good("list -l 0"), list);
    bench.silent("make -f 9 jbod 1.14");
    bench.silent("grow -y 9 jbod 1.15");
    assert!(bench.good("list -j 9").contains("\"part\":1,"));
    for (line, output) in [
        (
            "grow 0 raid1",
            "usage: grow [-c] [-f] [-y] [-k KiB] LUN type drive ...\n",
        ),
        ("grow 77 raid1 1.13-14", "error: LUN 77 does not exist\n"),
        ("grow 0 raid1 1.8-9", "error: 1.8 already in use\n"),
        (
            "grow 0 raid99 1.13",
            "error: unsupported raid type raid99; types: raw jbod raid0 raid1 raid5 raid6 raid10\n",
        ),
    ] {
        assert_eq!(bench.bad(line), output, "{line}");
    }
    assert!(bench.bad("grow -j 77 jbod 1.13").contains("no_such_lun"));
}
