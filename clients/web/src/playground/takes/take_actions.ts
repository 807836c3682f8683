/** What can be saved or copied of a take. */

import { save } from "../sound/wav.js";
import { fragmentOf, recipeOf } from "./permalink.js";
import { tagsOf } from "./tags.js";
import type { Take } from "./take.js";
import type { Act } from "./take_list.js";

export type Keeping = Exclude<Act, "play" | "show" | "use_seed" | "remove">;

/** Do it; returns what is to be said of it.
 * @param base the page's address, without a slash at its end
 * @param needsKey whether the server asks for a key
 */
export async function keepOf(act: Keeping, take: Take, base: string, needsKey: boolean): Promise<string> {
  switch (act) {
    case "download":
      save(take.wav(await tagsOf(take, false)), `${take.fileName}.wav`);
      take.kept = true;
      return "Saved.";
    case "download_all":
      save(take.wavWithPrompt(await tagsOf(take, true)), `${take.fileName}-with-prompt.wav`);
      take.kept = true;
      return "Saved.";
    case "source":
      save(take.source, take.sourceName);
      return "Saved.";
    case "curl":
      return await copy(take.curl(base, needsKey), "The command is in the clipboard.", take.difference);
    case "link":
      return await copy(base + "/" + fragmentOf(recipeOf(take)!), "The link is in the clipboard.", linkNeeds(take));
  }
}

function linkNeeds({ prompt, changed }: Take): string {
  const file = prompt?.kind === "bundled" ? "" : `Who opens it needs the file ${prompt?.name}. `;
  return file + (changed ? "It leaves out what the sliders did while it played." : "");
}

async function copy(text: string, done: string, more: string): Promise<string> {
  try {
    await navigator.clipboard.writeText(text);
    return `${done} ${more}`.trim();
  } catch {
    return `Copy this: ${text} ${more && `(${more})`}`.trim();
  }
}
