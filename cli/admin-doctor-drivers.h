/* SPDX-License-Identifier: Apache-2.0 */
/* MongoDB drivers that are installed, and what their versions can do with MONGODB-OIDC. */
#ifndef KEYFOB_ADMIN_DOCTOR_DRIVERS_H
#define KEYFOB_ADMIN_DOCTOR_DRIVERS_H

#include "cli/admin-doctor.h"

#define DRIVER_VERSION_MAX 32

enum driver { DRIVER_NODE, DRIVER_PYMONGO, DRIVER_GO, DRIVER_JAVA, DRIVER_CSHARP, DRIVER_LIBMONGOC, DRIVER_NONE };

struct driver_found {
	enum driver driver;
	char version[DRIVER_VERSION_MAX];
};

/* "6.17.0", "v2.2.0-beta1", "5.4": is it older? A pre-release is older than its release; what is no version is not. */
bool driver_is_older(const char *version, const char *than);
/*
 * By its name and, of some, its content, fd being its directory's and parent
 * and grandparent the names of that and the one above: is this the mark of a
 * driver?
 */
bool driver_recognise(int fd, const char *grandparent, const char *parent, const char *name, struct driver_found *found);
/* What is to be said of a version, found at this place. */
void driver_judge(struct doctor *d, const struct driver_found *found, const char *place);

#endif
