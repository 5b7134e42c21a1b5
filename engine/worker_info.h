/* worker_info.h: the INFO frames of the workers, as sections of INFO keymiss: functions_worker and models_worker. */
#ifndef KEYMISS_WORKER_INFO_H
#define KEYMISS_WORKER_INFO_H

void worker_info_init(void);

#endif
