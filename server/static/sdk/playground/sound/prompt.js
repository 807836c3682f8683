/** What is to go on: a file, one of the server's recordings or what was said into the microphone. */
import { SAMPLE_RATE } from "../../events.js";
import { firstCut, isWhole, LONGEST_SECONDS, movedCut, SHORTEST_SECONDS } from "./cut.js";
import { likest } from "./likeness.js";
import { Track } from "./track.js";
import { wavOf } from "./wav.js";
/** Decoders differ by some samples at both ends. */
const MARGIN_SECONDS = 0.05;
/** Amplitude, of at most 1, below which a sample counts as silence. */
const QUIETEST = 0.002;
const LONGEST_FILE_SECONDS = 1800;
const LONGEST_NAME = 26;
const MOST_BYTES = 64 * 1024 * 1024;
export class ChosenPrompt {
    kind;
    blob;
    name;
    title;
    /** All of it; null where this browser cannot decode it. */
    track;
    /** The seconds that are used. */
    cut;
    /** The model that is to continue it: a bundled recording's own, else the likest or the one chosen last; null if nobody knows. */
    model;
    /** The model whose kind of sound it is most like; null where nothing was guessed. */
    guess;
    /** Whether the server has refused it. */
    refused = false;
    constructor(kind, blob, name, 
    /** The name as the page shows it. */
    title, samples) {
        this.kind = kind;
        this.blob = blob;
        this.name = name;
        this.title = title;
        this.track = samples && Track.of(samples);
        this.guess = kind === "file" && samples ? likest(samples) : null;
        this.model = kind === "bundled" ? name.split(/[-.]/)[0] : this.guess;
        this.cut = this.track && firstCut(this.track.seconds);
        // A decoder's few samples more than a minute are no reason to cut.
        if (this.track && this.track.seconds <= LONGEST_SECONDS + MARGIN_SECONDS)
            this.cut = { from: 0, to: this.track.seconds };
    }
    static async read(kind, blob, name, title = shortened(name)) {
        const readable = blob.size > 0 && blob.size <= MOST_BYTES;
        return new ChosenPrompt(kind, blob, name, title, readable ? await decoded(blob) : null);
    }
    static recorded(recording) {
        const samples = recording.all();
        return new ChosenPrompt("recording", wavOf([samples]), "recording.wav", "Your recording", samples);
    }
    /** The name of its button: that of a bundled recording, or its kind. */
    get chip() {
        return this.kind === "bundled" ? this.name.replace(/\.flac$/, "") : this.kind;
    }
    /** Its seconds, all of them; null where this browser cannot decode it. */
    get seconds() {
        return this.track && this.track.seconds;
    }
    /** A sentence or two on what is known of it, and what is used of it. */
    get told() {
        const { seconds, cut, title } = this;
        if (seconds === null || cut === null)
            return `${title}: this browser cannot show it, but the server may know it.`;
        if (this.whole)
            return `${title}: ${seconds.toFixed(1)} s.`;
        if (cut.from > 0 || cut.to < LONGEST_SECONDS)
            return `${title}: seconds ${cut.from.toFixed(1)} to ${cut.to.toFixed(1)}.`;
        return `${title}: ${seconds.toFixed(1)} s. Its first ${cut.to} s are used; drag the ends in the picture to use others.`;
    }
    /** Whether all of it is used. */
    get whole() {
        return !this.track || !this.cut || isWhole(this.cut, this.track.seconds);
    }
    /** Whether nothing can be heard in the seconds that are used. */
    get silent() {
        if (!this.track || !this.cut)
            return false;
        return this.track.read(this.firstSample, this.endSample).every((sample) => Math.abs(sample) < QUIETEST);
    }
    /** The first sample that is used, and the one behind the last. */
    get firstSample() {
        return Math.round((this.cut?.from ?? 0) * SAMPLE_RATE);
    }
    get endSample() {
        return Math.round((this.cut?.to ?? 0) * SAMPLE_RATE);
    }
    /** Use these seconds of it, as far as there are any; all that can be used where nothing is cut off. */
    useCut(cut) {
        if (!this.track || !this.cut)
            return;
        const { from, to } = cut ?? { from: 0, to: this.track.seconds };
        this.cut = movedCut(movedCut(this.cut, "to", to, this.track.seconds), "from", from, this.track.seconds);
    }
    /** What is to be continued now: the file as it is, or the seconds that were chosen of it. */
    used() {
        const { kind, name, title, blob, track, cut } = this;
        if (!track || this.whole)
            return { kind, name, title, blob, samples: track && track.read(0), cut: null, of: this };
        const samples = track.read(this.firstSample, this.endSample);
        return { kind, name, title, blob: wavOf([samples]), samples, cut, of: this };
    }
    /** Why a server would refuse it, if that can be seen from here. */
    get refusal() {
        const { seconds } = this;
        if (this.blob.size === 0)
            return `${this.title} is empty.`;
        if (this.blob.size > MOST_BYTES)
            return `${this.title} has more than ${MOST_BYTES / 1024 ** 2} MiB; choose a shorter one.`;
        if (seconds === null) {
            if (this.blob.type === "" || /^(audio|video)\//.test(this.blob.type))
                return null;
            return `${this.title} does not look like sound (it is ${this.blob.type}); choose a wav, flac, mp3, ogg or m4a file.`;
        }
        if (seconds < SHORTEST_SECONDS - MARGIN_SECONDS)
            return `${this.title} is ${seconds.toFixed(1)} s long; it takes ${SHORTEST_SECONDS} to ${LONGEST_SECONDS} s of sound.`;
        if (seconds > LONGEST_FILE_SECONDS)
            return `${this.title} is ${Math.round(seconds / 60)} minutes long; choose a file of at most ${LONGEST_FILE_SECONDS / 60} minutes.`;
        return null;
    }
}
/** A name as far as there is room for it: its beginning and its end. */
export function shortened(name) {
    if (name.length <= LONGEST_NAME)
        return name;
    const half = LONGEST_NAME / 2 - 1;
    return `${name.slice(0, half)}…${name.slice(-half)}`;
}
async function decoded(blob) {
    try {
        const buffer = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await blob.arrayBuffer());
        return mixed(buffer);
    }
    catch {
        return null;
    }
}
/** All channels as one. */
function mixed(buffer) {
    const sum = new Float32Array(buffer.length);
    for (let channel = 0; channel < buffer.numberOfChannels; channel++)
        buffer.getChannelData(channel).forEach((sample, i) => (sum[i] += sample / buffer.numberOfChannels));
    return sum;
}
