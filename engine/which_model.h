/* which_model.h: MODEL of the models worker: which model is at this key? For redisAI.model_execute in a script. */
#ifndef KEYMISS_WHICH_MODEL_H
#define KEYMISS_WHICH_MODEL_H

void which_model_init(void);

#endif
