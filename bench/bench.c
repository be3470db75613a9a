/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

double bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* --- lines ------------------------------------------------------------------ */

static void print_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char)*text < ' ')
			printf("\\u%04x", (unsigned int)(unsigned char)*text);
		else
			putchar(*text);
	}
	putchar('"');
}

/* ,"name":"text", the comma where something stands before it */
static void print_member(const char *before, const char *name, const char *text)
{
	printf("%s\"%s\":", before, name);
	print_text(text);
}

static void end_line(void)
{
	puts("}");
	fflush(stdout);
}

void bench_say(const char *row, const char *way, const char *unit, const double *rounds, size_t count)
{
	print_member("{", "row", row);
	print_member(",", "way", way);
	print_member(",", "unit", unit);
	printf(",\"rounds\":[");
	for (size_t i = 0; i < count; i++)
		printf("%s%.9g", i ? "," : "", rounds[i]);
	printf("]");
	end_line();
}

static void say_target(const char *row, const char *target, const char *way, const char *peer, double bound)
{
	print_member("{", "row", row);
	print_member(",", "target", target);
	print_member(",", "way", way);
	if (peer)
		print_member(",", "peer", peer);
	else
		printf(",\"peer\":null");
	printf(",\"bound\":%.9g", bound);
	end_line();
}

void bench_at_most(const char *row, const char *way, const char *peer, double most)
{
	say_target(row, "at most", way, peer, most);
}

void bench_at_least(const char *row, const char *way, const char *peer, double least)
{
	say_target(row, "at least", way, peer, least);
}

void bench_point(const char *plot, const char *series, const char *x_name, double x, const char *y_name, double y, bool linear)
{
	print_member("{", "plot", plot);
	print_member(",", "series", series);
	print_member(",", "x", x_name);
	printf(",\"at\":%.9g", x);
	print_member(",", "y", y_name);
	printf(",\"value\":%.9g,\"linear\":%s", y, linear ? "true" : "false");
	end_line();
}

void bench_skip(const char *row, const char *way, const char *why)
{
	print_member("{", "row", row);
	print_member(",", "way", way);
	print_member(",", "skipped", why);
	end_line();
}

/* --- rounds ----------------------------------------------------------------- */

static double timed(const char *row, const struct bench_way *way, unsigned long times)
{
	double begin = bench_now();

	errno = 0;
	if (!way->once(way->ctx, times)) {
		fflush(stdout);
		fprintf(stderr, "bench: %s: %s does not work%s%s\n", row, way->name, errno ? ": " : "", errno ? strerror(errno) : "");
		exit(1);
	}
	return bench_now() - begin;
}

/* How often a way is done in a round of that length; warms it up on the way. */
static unsigned long times_in(const char *row, const struct bench_way *way, double length)
{
	unsigned long times = 1;
	double took = timed(row, way, times);

	while (took < length / 4) {
		times *= 2;
		took = timed(row, way, times);
	}
	times = (unsigned long)((double)times * length / took);
	return times ? times : 1;
}

static unsigned rounds_of(const struct bench_options *options)
{
	const char *quick = getenv("BENCH_ROUNDS");
	unsigned rounds = options && options->rounds ? options->rounds : 31;

	return quick && *quick ? (unsigned)strtoul(quick, NULL, 10) : rounds;
}

static void pin(cpu_set_t *before)
{
	cpu_set_t one;
	int cpu = sched_getcpu();

	CPU_ZERO(&one);
	CPU_SET(cpu < 0 ? 0 : (unsigned)cpu, &one);
	if (sched_getaffinity(0, sizeof(*before), before) < 0 || sched_setaffinity(0, sizeof(one), &one) < 0)
		perror("bench: not pinned to a core");
}

static void *need(void *memory)
{
	if (!memory) {
		perror("bench");
		exit(1);
	}
	return memory;
}

void bench_run(const char *row, const struct bench_way *ways, size_t count, const struct bench_options *options)
{
	const unsigned rounds = rounds_of(options);
	const double length = (options && options->ms ? options->ms : 20) * 1e6;
	unsigned long *times = need(calloc(count, sizeof(*times)));
	double *figures = need(calloc(count * rounds, sizeof(*figures)));
	const char *rate = options ? options->rate : NULL;
	cpu_set_t before;

	if (options && options->pinned)
		pin(&before);
	for (size_t i = 0; i < count; i++)
		times[i] = times_in(row, &ways[i], length);
	for (unsigned round = 0; round < rounds; round++) {
		for (size_t i = 0; i < count; i++) {
			size_t turn = (round + i) % count;

			double one = timed(row, &ways[turn], times[turn]) / (double)times[turn];

			figures[turn * rounds + round] = rate ? 1e9 / one : one;
		}
	}
	if (options && options->pinned)
		sched_setaffinity(0, sizeof(before), &before);
	for (size_t i = 0; i < count; i++)
		bench_say(row, ways[i].name, rate ? rate : "ns", figures + i * rounds, rounds);
	free(times);
	free(figures);
}

bool bench_command(char *const argv[])
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status, error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error) {
		errno = error;
		return false;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	errno = 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool bench_by_command(void *ctx, unsigned long times)
{
	while (times--)
		if (!bench_command(ctx))
			return false;
	return true;
}
