// Addresses of the pages for comparing, exporting, deleting and studying: [pattern, view, title].

import { checkView } from "./check.js";
import { compareView } from "./compare.js";
import { evaluationsView } from "./evaluations.js";
import { exportView } from "./export.js";
import { facesView } from "./faces.js";
import { programView } from "./program.js";
import { deleteView } from "./remove.js";

export const STUDY_ROUTES = [
  [/^#\/compare(?:\?person=(.+))?$/, compareView, "title.compare"],
  [/^#\/export(?:\?(?:session|person)=(.+))?$/, exportView, "title.export"],
  [/^#\/delete(?:\?person=(.+))?$/, deleteView, "title.delete"],
  [/^#\/check$/, checkView, "title.check"],
  [/^#\/evaluations$/, evaluationsView, "title.evaluations"],
  [/^#\/faces$/, facesView, "title.faces"],
  [/^#\/program$/, programView, "title.program"],
];
