# SPDX-License-Identifier: Apache-2.0
# A plot as SVG: one line for each series, an axis in powers of ten where it spans more than one.
package plot;
use strict;
use warnings;
use utf8;
use List::Util qw(any min max);

my ($width, $height) = (720, 420);
my ($left, $right, $top, $bottom) = (88, 24, 44, 62);
# Told apart by those who do not see all colours too (Okabe and Ito), and by their marks.
my @colours = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000');
my @marks = (
	sub { sprintf '<circle cx="%.1f" cy="%.1f" r="4"/>', @_ },
	sub { sprintf '<rect x="%.1f" y="%.1f" width="8" height="8"/>', $_[0] - 4, $_[1] - 4 },
	sub { sprintf '<path d="M%.1f %.1fl5 9h-10z"/>', $_[0], $_[1] - 5 },
	sub { sprintf '<path d="M%.1f %.1fl5 5-5 5-5-5z"/>', $_[0], $_[1] - 5 },
);

sub escaped {
	my ($text) = @_;
	my %name = ('&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;');

	$text =~ s/([&<>"])/$name{$1}/g;
	return $text;
}

# What is marked on a linear axis from 0 to the greatest: 4 to 8 figures, round ones of their unit.
sub round_ticks {
	my ($greatest, $unit) = @_;
	my $step = $unit eq 'bytes' ? 1 : 10**int_down(log10($greatest));

	$step /= 2 while $greatest / $step < 4;
	$step *= 2 while $greatest / $step > 8;
	return map { $_ * $step } 0 .. int($greatest / $step + 0.999);
}

# axis UNIT FROM TO FIGURES...: where a figure comes to stand, between FROM and TO, and what is marked
sub axis {
	my ($unit, $from, $to, @figures) = @_;
	my ($least, $greatest) = (min(@figures), max(@figures));

	if ($least > 0 && $greatest / $least >= 10) {
		my ($low, $high) = (int_down(log10($least)), -int_down(-log10($greatest)));
		return { at => sub { $from + ($to - $from) * (log10($_[0]) - $low) / ($high - $low) }, ticks => [ map { 10**$_ } $low .. $high ] };
	}
	my @ticks = round_ticks($greatest > 0 ? $greatest : 1, $unit);
	return { at => sub { $from + ($to - $from) * $_[0] / $ticks[-1] }, ticks => \@ticks };
}

sub log10 { return log($_[0]) / log(10) }

# Of 2.9999999999 too, as logarithms come out.
sub int_down {
	my ($figure) = @_;
	my $nearest = sprintf '%.0f', $figure;

	return $nearest if abs($figure - $nearest) < 1e-9;
	return $figure < 0 ? int($figure) - 1 : int $figure;
}

sub plain {
	my ($figure) = @_;
	my $text = $figure >= 1 ? sprintf('%.6g', $figure) : sprintf('%.3g', $figure);

	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub grid {
	my ($x, $y, $amount, $unit) = @_;
	my $text = '';

	for (@{ $y->{ticks} }) {
		my $at = $y->{at}->($_);
		(my $figure = $amount->($_, $unit)) =~ s/\.0+\b//;
		$text .= sprintf qq{<line x1="%d" y1="%.1f" x2="%d" y2="%.1f"/><text class="y" x="%d" y="%.1f">%s</text>\n}, $left, $at, $width - $right, $at,
			$left - 8, $at + 4, escaped($figure);
	}
	for (@{ $x->{ticks} }) {
		my $at = $x->{at}->($_);
		$text .= sprintf qq{<line x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="x" x="%.1f" y="%d">%s</text>\n}, $at, $top, $at, $height - $bottom, $at,
			$height - $bottom + 18, plain($_);
	}
	return $text;
}

sub series {
	my ($plot, $number, $x, $y) = @_;
	my $name = $plot->{series}[$number];
	my ($colour, $mark) = ($colours[ $number % @colours ], $marks[ $number % @marks ]);
	my @at = map { [ $x->{at}->($_->[0]), $y->{at}->($_->[1]) ] } sort { $a->[0] <=> $b->[0] } @{ $plot->{points}{$name} };

	return qq{<g fill="$colour">\n<polyline stroke="$colour" points="} . join(' ', map { sprintf '%.1f,%.1f', @$_ } @at) . qq{"/>\n} .
		join('', map { $mark->(@$_) } @at) . "\n</g>\n";
}

sub legend {
	my ($plot) = @_;
	my ($text, $at) = ('', $left + 8);

	for my $number (0 .. $#{ $plot->{series} }) {
		my $name = $plot->{series}[$number];
		$text .= qq{<g fill="$colours[$number % @colours]">} . $marks[ $number % @marks ]->($at, $top - 9) . '</g>' .
			sprintf(qq{<text x="%d" y="%d">%s</text>\n}, $at + 10, $top - 5, escaped($name));
		$at += 30 + 7.2 * length $name;
	}
	return $text;
}

# svg PLOT TITLE AMOUNT: AMOUNT tells a figure with its unit
sub svg {
	my ($plot, $title, $amount) = @_;
	my @points = map { @$_ } values %{ $plot->{points} };
	my $x = axis('', $left, $width - $right, map { $_->[0] } @points);
	my $y = axis($plot->{y}, $height - $bottom, $top, map { $_->[1] } @points);

	return <<"END" . grid($x, $y, $amount, $plot->{y}) . join('', map { series($plot, $_, $x, $y) } 0 .. $#{ $plot->{series} }) . legend($plot) . "</svg>\n";
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- drawn by make bench -->
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height" role="img">
<title>${\escaped($title)}</title>
<style>
text { font-family: sans-serif; font-size: 12px; fill: #1f2328 }
text.title { font-size: 15px; font-weight: bold }
text.x, text.label { text-anchor: middle } text.y { text-anchor: end }
line { stroke: #d0d7de } polyline { fill: none; stroke-width: 2 }
</style>
<rect width="$width" height="$height" fill="#ffffff"/>
<text class="title" x="$left" y="20">${\escaped($title)}</text>
<text class="label" x="${\(($left + $width - $right) / 2)}" y="${\($height - 20)}">${\escaped($plot->{x})}</text>
END
}

1;
