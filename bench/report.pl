#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# bench/report.pl ROWS LINES OUT [DOC]: what the benchmarks said, as a table and fitted curves on stdout, OUT/results.json and
# OUT/PLOT.svg; with DOC also DOC/PERFORMANCE.md between its markers, and DOC/bench-PLOT.svg. ROWS is bench/rows.tsv, LINES one JSON
# object a line as bench/bench.h has them. What it cannot make sense of is an error.
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use List::Util qw(any max sum);
use plot;

binmode STDOUT, ':utf8';
binmode STDERR, ':utf8';
@ARGV == 3 || @ARGV == 4 or die "usage: report.pl ROWS LINES OUT [DOC]\n";

# What is wrong, and no report.
sub fail {
	print STDERR "report: $_[0]\n";
	exit 1;
}

my ($rows_file, $lines_file, $out, $doc) = @ARGV;
my (%title, @order, %row, %plot, @plots, $machine);

# --- reading -------------------------------------------------------------------

sub read_rows {
	open my $in, '<:utf8', $rows_file or fail("$rows_file: $!");
	while (<$in>) {
		next if /^#/;
		chomp;
		my ($id, $benchmark, $title, $target) = split /\t/;
		defined $title && !exists $title{$id} && ($target // 'no target') eq 'no target'
			or fail("$rows_file: line $.: not row, benchmark, title and perhaps \"no target\", or the row is there twice");
		$title{$id} = $title;
		push @order, $id;
	}
}

sub is_number { defined $_[0] && !ref $_[0] && $_[0] =~ /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/ }

sub has { my ($line, @names) = @_; !any { !defined $line->{$_} || ref $line->{$_} } @names }

# Each returns what is wrong with the line, "" when nothing is.
sub take_rounds {
	my ($row, $line) = @_;
	my $rounds = $line->{rounds};

	return 'no way, unit or figures' unless has($line, qw(way unit)) && ref $rounds eq 'ARRAY' && @$rounds;
	return 'a figure that is no number' if any { !is_number($_) } @$rounds;
	return "$line->{way} is there twice" if $row->{figures}{ $line->{way} };
	push @{ $row->{ways} }, $line->{way};
	$row->{figures}{ $line->{way} } = { unit => $line->{unit}, rounds => [ map { $_ + 0 } @$rounds ] };
	return '';
}

sub take_target {
	my ($row, $line) = @_;

	return 'no way, or a bound that is no number' unless has($line, 'way') && exists $line->{peer} && is_number($line->{bound});
	return "a target that is neither at most nor at least" unless $line->{target} =~ /^at (most|least)$/;
	push @{ $row->{targets} }, $line;
	return '';
}

sub take_row {
	my ($line) = @_;

	return "no row $line->{row} in $rows_file" unless exists $title{ $line->{row} };
	my $row = $row{ $line->{row} } //= { ways => [], figures => {}, targets => [], skipped => {} };
	return take_rounds($row, $line) if exists $line->{rounds};
	return take_target($row, $line) if has($line, 'target');
	return 'neither figures nor a target nor a skip' unless has($line, qw(way skipped));
	$row->{skipped}{ $line->{way} } = $line->{skipped};
	return '';
}

sub take_point {
	my ($line) = @_;
	my $name = $line->{plot};

	return 'no series, axes or value' unless has($line, qw(series x y)) && is_number($line->{at}) && is_number($line->{value});
	return 'a plot is named in small letters, digits and hyphens' unless $name =~ /^[a-z0-9-]+$/;
	my $plot = $plot{$name} //= { name => $name, x => $line->{x}, y => $line->{y}, series => [], points => {}, linear => {} };
	push @plots, $plot unless any { $_ == $plot } @plots;
	return 'one plot, two pairs of axes' unless $plot->{x} eq $line->{x} && $plot->{y} eq $line->{y};
	push @{ $plot->{series} }, $line->{series} unless $plot->{points}{ $line->{series} };
	push @{ $plot->{points}{ $line->{series} } }, [ $line->{at} + 0, $line->{value} + 0 ];
	$plot->{linear}{ $line->{series} } = $line->{linear} ? 1 : 0;
	return '';
}

sub read_lines {
	open my $in, '<', $lines_file or fail("$lines_file: $!");
	while (<$in>) {
		my $line = eval { decode_json($_) };
		my $wrong = ref $line ne 'HASH' ? 'no JSON object'
			: has($line, 'row') ? take_row($line)
			: has($line, 'plot') ? take_point($line)
			: ref $line->{machine} eq 'HASH' ? do { $machine = $line->{machine}; '' }
			: 'neither row nor plot nor machine';
		fail("$lines_file: line $.: $wrong") if $wrong;
	}
}

# --- figuring ------------------------------------------------------------------

# quantile AT FIGURES...: between two figures it takes its share of both
sub quantile {
	my ($at, @sorted) = (shift, sort { $a <=> $b } @_);
	my $place = $at * $#sorted;
	my $low = int $place;

	return $sorted[$low] if $low == $#sorted;
	return $sorted[$low] + ($place - $low) * ($sorted[ $low + 1 ] - $sorted[$low]);
}

# Median and quartiles.
sub spread { my @figures = @_; return map { quantile($_, @figures) } 0.5, 0.25, 0.75 }

# ratio ROW WAY PEER: median and quartiles of what each round came to; the quotient of the medians where rounds do not pair.
sub ratio {
	my ($id, $way, $peer) = @_;
	my ($a, $b) = map { $row{$id}{figures}{$_} } $way, $peer;

	fail("$id: $way is in $a->{unit}, $peer in $b->{unit}") if $a->{unit} ne $b->{unit};
	fail("$id: $peer has a figure of 0, and nothing can be compared with it") if any { $_ == 0 } @{ $b->{rounds} };
	return quantile(0.5, @{ $a->{rounds} }) / quantile(0.5, @{ $b->{rounds} }) if @{ $a->{rounds} } != @{ $b->{rounds} };
	return spread(map { $a->{rounds}[$_] / $b->{rounds}[$_] } 0 .. $#{ $a->{rounds} });
}

# Adds value, quartiles and met, or why it was not judged.
sub judge {
	my ($id, $target) = @_;
	my $row = $row{$id};

	for my $way ($target->{way}, $target->{peer} // ()) {
		next if $row->{figures}{$way};
		my $why = $row->{skipped}{$way};
		fail("$id: a target names $way, which nobody measured") unless defined $why || any { !$row->{figures}{$_} } keys %{ $row->{skipped} };
		$target->{unjudged} = "not judged without $way";
		return;
	}
	($target->{value}, @{ $target->{quartiles} }) =
		defined $target->{peer} ? ratio($id, $target->{way}, $target->{peer}) : spread(@{ $row->{figures}{ $target->{way} }{rounds} });
	$target->{met} = $target->{target} eq 'at most' ? $target->{value} <= $target->{bound} : $target->{value} >= $target->{bound};
}

# y = a + b x, by least squares.
sub line_through {
	my @points = @_;
	my ($n, $x, $y) = (scalar @points, sum(map { $_->[0] } @points), sum(map { $_->[1] } @points));
	my $spread = sum(map { ($_->[0] - $x / $n)**2 } @points);
	my $slope = $spread ? sum(map { ($_->[0] - $x / $n) * ($_->[1] - $y / $n) } @points) / $spread : undef;

	return ($y / $n - ($slope // 0) * $x / $n, $slope);
}

# The curve of a series, as text.
sub fit {
	my ($plot, $series) = @_;
	my @points = @{ $plot->{points}{$series} };
	my $x = $plot->{x};

	if ($plot->{linear}{$series}) {
		my ($a, $b) = line_through(@points);
		return defined $b ? amount($a, $plot->{y}) . ' + ' . amount($b, $plot->{y}) . " × $x" : 'one point, no line';
	}
	return 'a figure of 0, no curve' if any { $_->[0] <= 0 || $_->[1] <= 0 } @points;
	my (undef, $power) = line_through(map { [ map { log } @$_ ] } @points);
	return defined $power ? sprintf("grows with the power %.2f of %s", $power, $x) : 'one point, no curve';
}

# --- words ---------------------------------------------------------------------

# Three digits that count.
sub digits {
	my ($figure) = @_;
	my $size = abs $figure;

	return '0' if $size == 0;
	return sprintf '%.0f', $figure if $size >= 99.95;
	return sprintf $size >= 9.995 ? '%.1f' : $size >= 0.0995 ? '%.2f' : '%.2g', $figure;
}

my %scales = (
	ns => [ [ 1e9, 's' ], [ 1e6, 'ms' ], [ 1e3, 'µs' ], [ 1, 'ns' ] ],
	bytes => [ [ 2**30, 'GiB' ], [ 2**20, 'MiB' ], [ 2**10, 'KiB' ], [ 1, 'bytes' ] ],
);

sub amount {
	my ($figure, $unit) = @_;

	for my $scale (@{ $scales{$unit} // [] }) {
		return digits($figure / $scale->[0]) . " $scale->[1]" if abs $figure >= 0.9995 * $scale->[0] || $scale->[0] == 1;
	}
	return digits($figure) . " $unit";
}

sub middle_half {
	my ($text, @quartiles) = @_;
	return @quartiles ? $text->($quartiles[0]) . '–' . $text->($quartiles[1]) : '';
}

sub target_cells {
	my ($id, $target) = @_;
	my $unit = $row{$id}{figures}{ $target->{way} }{unit};
	my $own = !defined $target->{peer};
	my $bound = $own ? amount($target->{bound}, $unit // '') : "$target->{bound} × $target->{peer}";

	return ('', "$target->{target} $bound", $target->{unjudged}) if $target->{unjudged};
	my $ratio = $own ? '' : digits($target->{value}) . " × $target->{peer}";
	$ratio .= ' (' . middle_half(\&digits, @{ $target->{quartiles} }) . ')' if !$own && @{ $target->{quartiles} };
	return ($ratio, "$target->{target} $bound", $target->{met} ? 'met' : 'MISSED');
}

sub way_lines {
	my ($id, $way) = @_;
	my ($row, $first) = ($row{$id}, $row{$id}{ways}[0]);
	my ($unit, $rounds) = @{ $row->{figures}{$way} }{qw(unit rounds)};
	my ($median, @quartiles) = spread(@$rounds);
	my @cells = ($way, amount($median, $unit), @$rounds > 1 ? middle_half(sub { amount($_[0], $unit) }, @quartiles) : '');
	my @targets = map { [ target_cells($id, $_) ] } grep { $_->{way} eq $way } @{ $row->{targets} };
	my $beside = $row->{figures}{$first};

	# What is no target is told beside what the row is about, which is said first.
	@targets = ([ $way ne $first && $beside->{unit} eq $unit && !(any { $_ == 0 } @{ $beside->{rounds} })
		? digits((ratio($id, $way, $first))[0]) . " × $first" : '', '', '' ]) unless @targets;
	return ([ @cells, @{ shift @targets } ], map { [ '', '', '', @$_ ] } @targets);
}

sub row_lines {
	my ($id) = @_;
	my $row = $row{$id};
	my @lines = map { way_lines($id, $_) } @{ $row->{ways} };

	push @lines, map { [ $_->{way}, '', '', target_cells($id, $_) ] } grep { !$row->{figures}{ $_->{way} } } @{ $row->{targets} };
	push @lines, map { [ $_, 'skipped', '', '', '', $row->{skipped}{$_} ] } sort grep { !$row->{figures}{$_} } keys %{ $row->{skipped} };
	my $title = $title{$id};
	return map { my $line = [ $title, @$_ ]; $title = ''; $line } @lines;
}

# A Markdown table that can be read as it is.
sub table {
	my @lines = @_;
	my @width = map { my $column = $_; max(3, map { length $_->[$column] } @lines) } 0 .. $#{ $lines[0] };

	splice @lines, 1, 0, [ map { '-' x $_ } @width ];
	return join '', map { my $line = $_; '| ' . join(' | ', map { sprintf '%-*s', $width[$_], $line->[$_] } 0 .. $#width) . " |\n" } @lines;
}

sub report {
	my @measured = grep { $row{$_} } @order;
	my @judged = map { @{ $row{$_}{targets} } } @measured;
	my @missed = grep { exists $_->{met} && !$_->{met} } @judged;
	my $text = table([ 'work', 'way', 'median', 'middle half', 'ratio', 'target', '' ], map { row_lines($_) } @measured);

	$text .= sprintf "\n%d of %d targets met%s.\n", scalar(grep { $_->{met} } @judged), scalar @judged,
		(any { $_->{unjudged} } @judged) ? ', ' . (grep { $_->{unjudged} } @judged) . ' not judged' : '';
	for my $plot (@plots) {
		$text .= "\n" . ($title{ $plot->{name} } // $plot->{name}) . ":\n\n";
		$text .= join '', map { "- $_: " . fit($plot, $_) . "\n" } @{ $plot->{series} };
	}
	$text .= "\n" . join('; ', map { "$_ $machine->{$_}" } grep { defined $machine->{$_} } qw(date keyfob cpu cores governor kernel system compiler openssl curl keyutils load)) . "\n"
		if $machine;
	return $text;
}

# --- writing -------------------------------------------------------------------

sub write_file {
	my ($path, $text) = @_;

	open my $file, '>:utf8', "$path.new" or fail("$path.new: $!");
	print $file $text;
	close $file and rename "$path.new", $path or fail("$path: $!");
}

sub results {
	my @rows = map {
		my $row = $row{$_};
		{ row => $_, title => $title{$_}, targets => $row->{targets}, skipped => $row->{skipped},
			ways => [ map { { way => $_, %{ $row->{figures}{$_} }, median => quantile(0.5, @{ $row->{figures}{$_}{rounds} }) } } @{ $row->{ways} } ] }
	} grep { $row{$_} } @order;

	$_->{met} = $_->{met} ? JSON::PP::true : JSON::PP::false for grep { exists $_->{met} } map { @{ $_->{targets} } } @rows;
	return JSON::PP->new->canonical->pretty->encode({ machine => $machine, rows => \@rows, plots => \@plots });
}

# In PERFORMANCE.md, between the markers.
sub put_into_doc {
	my ($text) = @_;
	my $path = "$doc/PERFORMANCE.md";
	my $pictures = join '', map { "\n![" . ($title{ $_->{name} } // $_->{name}) . "](bench-$_->{name}.svg)\n" } @plots;

	open my $in, '<:utf8', $path or fail("$path: $!");
	my $page = do { local $/; <$in> };
	$page =~ s/(<!-- made by make bench -->\n).*?(<!-- end -->)/$1\n$text$pictures\n$2/s or fail("$path has no markers");
	write_file($path, $page);
}

read_rows();
read_lines();
for my $id (grep { $row{$_} } @order) {
	judge($id, $_) for @{ $row{$id}{targets} };
}
my $text = report();
write_file("$out/results.json", results());
for my $plot (@plots) {
	my $picture = plot::svg($plot, $title{ $plot->{name} } // $plot->{name}, \&amount);
	write_file("$out/$plot->{name}.svg", $picture);
	write_file("$doc/bench-$plot->{name}.svg", $picture) if defined $doc;
}
put_into_doc($text) if defined $doc;
print $text;
