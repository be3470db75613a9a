#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The report of make bench, from figures that stand here: no timing. And that what the benchmarks say is what it understands.
. "$(dirname "$0")/lib.sh"
bench=$(cd "$(dirname "$0")/../../bench" && pwd)

printf '%s\n' '# row, benchmark, title' $'warm\twarm\ttoken in hand' $'memory\tscale\tthe broker'"'"'s memory' $'growth\tscale\tlook-up & growth\tno target' >"$DIR/rows.tsv"
# report: of the lines on stdin
report() {
	cat >"$DIR/lines"
	"$bench/report.pl" "$DIR/rows.tsv" "$DIR/lines" "$DIR/out"
}
cells() {
	printf '%s\n' "$OUT" | grep -F "| $1 " | sed 's/  */ /g'
}

exits "a report of good figures" 0 report <<'END'
{"machine":{"cpu":"made up","cores":"2"}}
{"row":"warm","way":"keyfob","unit":"ns","rounds":[90,200,110]}
{"row":"warm","way":"keyctl_read","unit":"ns","rounds":[100,200,100]}
{"row":"warm","way":"file","unit":"ns","rounds":[1000,1100,1200,1300]}
{"row":"warm","target":"at most","way":"keyfob","peer":"keyctl_read","bound":1.0}
{"row":"warm","target":"at most","way":"keyfob","peer":"file","bound":0.05}
{"row":"warm","target":"at least","way":"file","peer":"keyfob","bound":10}
{"row":"warm","target":"at most","way":"keyfob","peer":"agent","bound":0.5}
{"row":"warm","way":"agent","skipped":"no package agent"}
{"row":"memory","way":"broker","unit":"bytes","rounds":[2097152,4194304,3145728]}
{"row":"memory","target":"at most","way":"broker","peer":null,"bound":8388608}
{"plot":"growth","series":"keyfob","x":"keys","at":1,"y":"ns","value":50,"linear":false}
{"plot":"growth","series":"keyfob","x":"keys","at":1000,"y":"ns","value":50,"linear":false}
{"plot":"growth","series":"squares","x":"keys","at":10,"y":"ns","value":100,"linear":false}
{"plot":"growth","series":"squares","x":"keys","at":1000,"y":"ns","value":1000000,"linear":false}
{"plot":"size","series":"broker","x":"copies","at":0,"y":"bytes","value":1048576,"linear":true}
{"plot":"size","series":"broker","x":"copies","at":1000,"y":"bytes","value":2072576,"linear":true}
END
# Of the rounds' ratios 0.9, 1 and 1.1, not of the medians, 110 and 100.
like "a ratio is the median of the rounds' ratios, with its spread" "$(cells keyfob)" '^\| token in hand \| keyfob \| 110 ns \| 100 ns–155 ns \| 1.00 × keyctl_read \(0.95–1.05\) \| at most 1 × keyctl_read \| met \|$'
like "of rounds that do not pair it is that of the medians, and a missed target is said" "$OUT" '\| 0.096 × file +\| at most 0.05 × file +\| MISSED +\|'
like "at least" "$(cells file)" '\| 10.5 × keyfob \| at least 10 × keyfob \| met \|'
like "a target beside a peer that was skipped is not judged" "$OUT" '\| at most 0.5 × agent +\| not judged without agent +\|'
like "what was skipped says why" "$(cells agent)" '\| agent \| skipped \| \| \| \| no package agent \|'
like "what is no target is told beside the row's first" "$(cells keyctl_read)" '\| keyctl_read \| 100 ns \| 100 ns–150 ns \| 1.00 × keyfob \| \| \|'
like "a target of its own" "$(cells broker)" "^\| the broker's memory \| broker \| 3.00 MiB \| 2.50 MiB–3.50 MiB \| \| at most 8.00 MiB \| met \|\$"
like "how many were met" "$OUT" '^3 of 5 targets met, 1 not judged\.$'
like "what stays flat" "$OUT" '^- keyfob: grows with the power 0.00 of keys$'
like "what grows with the square" "$OUT" '^- squares: grows with the power 2.00 of keys$'
like "a straight line" "$OUT" '^- broker: 1.00 MiB \+ 1.00 KiB × copies$'
like "the machine" "$OUT" '^cpu made up; cores 2$'
is "the figures are kept" "$(jq -c '[.machine.cores, (.rows[] | [.row, .ways[0].median, .targets[0].met]), .plots[0].points.keyfob]' "$DIR/out/results.json")" \
	'["2",["warm",110,true],["memory",3145728,true],[[1,50],[1000,50]]]'
like "a plot is drawn" "$(cat "$DIR/out/growth.svg")" '<title>look-up &amp; growth</title>'
is "with a line for each series" "$(grep -c '<polyline' "$DIR/out/growth.svg")" 2
if python3 -c '' 2>/dev/null; then
	check "and is XML" python3 -c 'import sys, xml.etree.ElementTree as x; x.parse(sys.argv[1])' "$DIR/out/growth.svg"
else
	skip "and is XML" "no python3"
fi

mkdir "$DIR/doc"
printf '# Performance\n\n<!-- made by make bench -->\nold\n<!-- end -->\n\nmore\n' >"$DIR/doc/PERFORMANCE.md"
check "the page gets them between its markers" "$bench/report.pl" "$DIR/rows.tsv" "$DIR/lines" "$DIR/out" "$DIR/doc"
like "the table" "$(cat "$DIR/doc/PERFORMANCE.md")" '3 of 5 targets met'
like "the plots" "$(cat "$DIR/doc/PERFORMANCE.md")" '^!\[look-up & growth\]\(bench-growth.svg\)$'
unlike "the old table is gone" "$(cat "$DIR/doc/PERFORMANCE.md")" '^old$'
like "the rest stays" "$(cat "$DIR/doc/PERFORMANCE.md")" '^more$'
check "its pictures are beside it" test -s "$DIR/doc/bench-growth.svg"
echo nothing >"$DIR/doc/PERFORMANCE.md"
exits "a page without markers" 1 "$bench/report.pl" "$DIR/rows.tsv" "$DIR/lines" "$DIR/out" "$DIR/doc"
like "is told" "$ERR" 'PERFORMANCE.md has no markers$'

# bad WHAT LINE... PATTERN: the last line is wrong
bad() {
	local what=$1 pattern=${*: -1}
	exits "$what" 1 report < <(printf '%s\n' "${@:2:$#-2}")
	like "says why" "$ERR" "^report: .*$pattern"
	is "and no table" "$OUT" ""
}
good='{"row":"warm","way":"keyfob","unit":"ns","rounds":[1,2]}'
bad "a line that is no JSON" "$good" 'ok 1 - warm' 'line 2: no JSON object$'
bad "an array" '[1]' 'line 1: no JSON object$'
bad "another object" '{"a":1}' 'line 1: neither row nor plot nor machine$'
bad "a row that is not in rows.tsv" '{"row":"x","way":"keyfob","unit":"ns","rounds":[1]}' 'line 1: no row x in '
bad "no figures" '{"row":"warm","way":"keyfob","unit":"ns","rounds":[]}' 'line 1: no way, unit or figures$'
bad "a figure that is no number" '{"row":"warm","way":"keyfob","unit":"ns","rounds":["fast"]}' 'line 1: a figure that is no number$'
bad "one way twice" "$good" "$good" 'line 2: keyfob is there twice$'
bad "a row with nothing" '{"row":"warm","way":"keyfob"}' 'line 1: neither figures nor a target nor a skip$'
bad "an unknown target" '{"row":"warm","target":"about","way":"keyfob","peer":null,"bound":1}' 'line 1: a target that is neither at most nor at least$'
bad "a bound that is no number" '{"row":"warm","target":"at most","way":"keyfob","peer":null,"bound":"x"}' 'line 1: no way, or a bound that is no number$'
bad "a target of what nobody measured" "$good" '{"row":"warm","target":"at most","way":"keyfob","peer":"file","bound":1}' 'warm: a target names file, which nobody measured$'
bad "seconds beside bytes" "$good" '{"row":"warm","way":"file","unit":"bytes","rounds":[1]}' '{"row":"warm","target":"at most","way":"keyfob","peer":"file","bound":1}' \
	'warm: keyfob is in ns, file in bytes$'
bad "a ratio to nothing" "$good" '{"row":"warm","way":"file","unit":"ns","rounds":[0]}' '{"row":"warm","target":"at most","way":"keyfob","peer":"file","bound":1}' \
	'warm: file has a figure of 0, and nothing can be compared with it$'
bad "a point without a value" '{"plot":"growth","series":"a","x":"keys","at":1,"y":"ns"}' 'line 1: no series, axes or value$'
bad "a plot that would lie elsewhere" '{"plot":"../x","series":"a","x":"keys","at":1,"y":"ns","value":1}' 'line 1: a plot is named in '
bad "other axes" '{"plot":"growth","series":"a","x":"keys","at":1,"y":"ns","value":1}' '{"plot":"growth","series":"a","x":"users","at":1,"y":"ns","value":1}' \
	'line 2: one plot, two pairs of axes$'
printf 'warm\twarm\n' >"$DIR/rows.tsv"
bad "a row without a title" "$good" 'rows.tsv: line 1: not row, benchmark, title '

# --- what the benchmarks themselves say -------------------------------------------------------

OUT=$(. "$bench/lib.sh" && say warm 'a "quoted" way' ns 1 2.5 && at_most warm keyfob - 3 && at_least warm keyfob 'a "quoted" way' 4 &&
	point growth keyfob keys 1 ns 2 && point size broker copies 1 bytes 2 linear && skip_way warm 'back\slash' 'a reason')
is "lib.sh speaks the lines" "$OUT" '{"row":"warm","way":"a \"quoted\" way","unit":"ns","rounds":[1,2.5]}
{"row":"warm","target":"at most","way":"keyfob","peer":null,"bound":3}
{"row":"warm","target":"at least","way":"keyfob","peer":"a \"quoted\" way","bound":4}
{"plot":"growth","series":"keyfob","x":"keys","at":1,"y":"ns","value":2,"linear":false}
{"plot":"size","series":"broker","x":"copies","at":1,"y":"bytes","value":2,"linear":true}
{"row":"warm","way":"back\\slash","skipped":"a reason"}'

while IFS=$'\t' read -r row benchmark title none; do
	sources=$(ls "$bench/$benchmark.sh" "$bench/$benchmark.c" 2>/dev/null)
	check "$row has a benchmark" test -n "$sources"
	[ "$none" = "no target" ] || check "and a target" grep -qE 'at_(most|least)' ${sources:-/dev/null}
done < <(grep -v '^#' "$bench/rows.tsv")
finish
