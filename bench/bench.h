/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every benchmark stands on: ways of doing one thing, measured in turns (A B A B), so that what disturbs the machine
 * disturbs all of them. A figure is said as a line of JSON on stdout, which bench/report.pl makes into the table and the
 * plots. Nothing here compares with a figure of another run.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>

/* One way of doing what a row is about. `once` does it `times` times and says whether it worked. */
struct bench_way {
	const char *name; /* as the row's target names it: "keyfob", "keyctl_read" */
	bool (*once)(void *ctx, unsigned long times);
	void *ctx;
};

/* Rounds of about `ms` milliseconds a way, after a warm-up; each is said in nanoseconds a time (or see rate). 0: as is usual. */
struct bench_options {
	unsigned rounds; /* 31; BENCH_ROUNDS in the environment replaces it, to try a benchmark */
	unsigned ms; /* 20; ways slower than that are done once a round */
	bool pinned; /* to one core; not for what starts processes or talks to them */
	const char *rate; /* unless NULL: said is how often in a second it is done, in this unit ("/s"): more is better */
};

/* Measures the ways in turns, each round beginning with another one, and says a line for each. Ends the program with
 * the way's name when it fails: a benchmark of failures measures nothing. */
void bench_run(const char *row, const struct bench_way *ways, size_t count, const struct bench_options *options);

/* Says figures that were taken some other way: one for each round, `unit` "ns", "bytes", "requests", ... */
void bench_say(const char *row, const char *way, const char *unit, const double *rounds, size_t count);

/* What the row must come to: the median of `way`'s ratios to `peer`, round by round, is `most` at most (`least` at least);
 * peer NULL: the median of `way` itself. */
void bench_at_most(const char *row, const char *way, const char *peer, double most);
void bench_at_least(const char *row, const char *way, const char *peer, double least);

/* A point of a plot: one line per series. The report fits y = a * x^b and prints b, or y = a + b * x where that is asked
 * for by linear. */
void bench_point(const char *plot, const char *series, const char *x_name, double x, const char *y_name, double y, bool linear);

/* A way that could not be tried here, and why: no package, no kernel support. */
void bench_skip(const char *row, const char *way, const char *why);

/* Nanoseconds of CLOCK_MONOTONIC. */
double bench_now(void);

/* Runs a command to its end, its stdout to /dev/null, and says whether it ended with 0. */
bool bench_command(char *const argv[]);

/* A way that is such a command: its argv is ctx. */
bool bench_by_command(void *ctx, unsigned long times);

#endif
